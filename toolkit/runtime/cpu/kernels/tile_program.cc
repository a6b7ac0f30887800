#include "kernels/tile_program.h"

#include <algorithm>
#include <cstring>

namespace toolkit {

Element ElementOf(DType t) {
  switch (t) {
    case DType::kFloat:
      return Element::kF32;
    case DType::kDouble:
      return Element::kF64;
    case DType::kInt8:
      return Element::kI8;
    case DType::kInt16:
      return Element::kI16;
    case DType::kInt32:
      return Element::kI32;
    case DType::kInt64:
      return Element::kI64;
    case DType::kUInt8:
    case DType::kBool:
      return Element::kU8;
    case DType::kUInt16:
      return Element::kU16;
    case DType::kUInt32:
      return Element::kU32;
    case DType::kUInt64:
      return Element::kU64;
    default:
      FailDType(t);
  }
}

TileProgram::Value TileProgram::Add(const Tensor* tensor) {
  TK_REQUIRE(num_values_ < kMaxValues, ErrorKind::kUnsupported, "tile program: at most ",
             kMaxValues, " values");
  tensors_[num_values_] = tensor;
  return num_values_++;
}
TileProgram::Value TileProgram::Input(const Tensor& tensor) { return Add(&tensor); }
TileProgram::Value TileProgram::Temporary() {
  ++num_temporaries_;
  return Add(nullptr);
}

TileProgram::Step& TileProgram::AddStep() {
  TK_REQUIRE(num_steps_ < kMaxSteps, ErrorKind::kUnsupported, "tile program: at most ", kMaxSteps,
             " steps");
  return steps_[num_steps_++] = Step{};
}
void TileProgram::Unary(UnaryFn fn, Value to, Value x, std::initializer_list<double> params) {
  Step& s = AddStep();
  s.unary = fn;
  s.to = to;
  s.from[0] = x;
  std::copy(params.begin(), params.end(), s.params);
}
void TileProgram::Binary(BinaryFn fn, Value to, Value a, Value b) {
  Step& s = AddStep();
  s.binary = fn;
  s.to = to;
  s.from[0] = a;
  s.from[1] = b;
}
void TileProgram::Binary(CodesFn fn, const void* args, Value to, Value a, Value b) {
  Step& s = AddStep();
  s.with_args = fn;
  s.args = args;
  s.to = to;
  s.from[0] = a;
  s.from[1] = b;
}
void TileProgram::Select(SelectFn fn, size_t item, Value to, Value condition, Value a, Value b) {
  Step& s = AddStep();
  s.select = fn;
  s.item = item;
  s.to = to;
  s.from[0] = condition;
  s.from[1] = a;
  s.from[2] = b;
}

// The output's shape with neighbouring dimensions merged wherever every input allows it.
struct TileProgram::Layout {
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  int64_t strides[kMaxValues][kMaxRank];  // In elements; 0 where an input repeats.

  Layout(const TileProgram& p, const Shape& out) {
    int64_t full[kMaxValues][kMaxRank];
    for (int v = 1; v < p.num_values_; ++v)
      if (p.tensors_[v]) FullStrides(p.tensors_[v]->shape(), out, full[v]);
    for (int i = 0; i < out.rank(); ++i) {
      if (out[i] == 1) continue;
      bool merge = rank > 0;
      for (int v = 1; merge && v < p.num_values_; ++v)
        merge = !p.tensors_[v] || strides[v][rank - 1] == full[v][i] * out[i];
      if (!merge) dims[rank++] = 1;
      dims[rank - 1] *= out[i];
      for (int v = 1; v < p.num_values_; ++v)
        if (p.tensors_[v]) strides[v][rank - 1] = full[v][i];
    }
    if (rank > 0) return;
    dims[rank++] = 1;
    for (int v = 1; v < p.num_values_; ++v) strides[v][0] = 0;
  }

  static void FullStrides(const Shape& shape, const Shape& out, int64_t* strides) {
    const int shift = out.rank() - shape.rank();
    TK_REQUIRE(shift >= 0, ErrorKind::kShape, "an input of shape ", shape.ToString(),
               " does not broadcast to ", out.ToString());
    int64_t stride = 1;
    for (int i = out.rank() - 1; i >= 0; --i) {
      const int64_t dim = i >= shift ? shape[i - shift] : 1;
      TK_REQUIRE(dim == out[i] || dim == 1, ErrorKind::kShape, "an input of shape ",
                 shape.ToString(), " does not broadcast to ", out.ToString());
      strides[i] = dim == 1 ? 0 : stride;
      stride *= dim;
    }
  }

  bool Constant(int v) const {
    return std::all_of(strides[v], strides[v] + rank, [](int64_t s) { return s == 0; });
  }
  // Runs through its memory in step with the output.
  bool Flat(int v) const {
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; stride *= dims[i--])
      if (strides[v][i] != stride) return false;
    return true;
  }
};

// Runs the steps over one range of the output.
class TileProgram::Walk {
 public:
  Walk(const TileProgram& p, const Layout& layout, const Tensor& out, bool gather)
      : p_(p), layout_(layout), out_(out), gather_(gather) {
    bool whole_spans = p.num_temporaries_ == 0 && p.num_steps_ == 1 && !gather;
    int buffers = 0;
    for (int s = 0; s < p.num_steps_; ++s)
      whole_spans &= p.steps_[s].binary || p.steps_[s].with_args ||
                     (p.steps_[s].unary && !layout.Constant(p.steps_[s].from[0]));
    max_span_ = whole_spans ? out.size() : kTile;
    for (int v = 0; v < p.num_values_; ++v) {
      if (v == 0) {
        item_[v] = ItemSize(out.dtype());
        mode_[v] = kFlat;
      } else if (!p.tensors_[v]) {
        pointer_[v] = Buffer(buffers++);
        step_[v] = 1;
        mode_[v] = kTemporary;
      } else {
        item_[v] = ItemSize(p.tensors_[v]->dtype());
        mode_[v] = layout.Constant(v) ? kConstant : layout.Flat(v) ? kFlat : kStrided;
        if (mode_[v] == kStrided && gather) {
          mode_[v] = kGathered;
          pointer_[v] = Buffer(buffers++);
        }
        step_[v] = mode_[v] == kConstant ? 0 : 1;
        if (mode_[v] == kConstant) pointer_[v] = p.tensors_[v]->data<char>();
      }
    }
    step_[0] = 1;
  }

  void Run(int64_t begin, int64_t end) {
    const int64_t inner = layout_.dims[layout_.rank - 1];
    for (int64_t at = begin; at < end;) {
      int64_t n = std::min(end - at, max_span_);
      if (!gather_) n = std::min(n, inner - at % inner);
      for (int v = 0; v < p_.num_values_; ++v) Point(v, at, n);
      RunSteps(n);
      at += n;
    }
  }

 private:
  enum Mode { kFlat, kConstant, kStrided, kGathered, kTemporary };
  static constexpr int kItemBytes = 16;
  static constexpr int kBuffers = 24;
  // Five cache lines apart from a multiple of 4 KiB, which loads and stores would confuse.
  static constexpr size_t kBufferBytes = kTile * kItemBytes + 320;

  char* Buffer(int i) {
    TK_REQUIRE(i < kBuffers, ErrorKind::kUnsupported, "tile program: too many temporaries");
    return memory_ + static_cast<size_t>(i) * kBufferBytes;
  }

  // Makes value v readable for elements [at, at + n).
  void Point(int v, int64_t at, int64_t n) {
    if (mode_[v] == kFlat) {
      const Tensor& t = v == 0 ? out_ : *p_.tensors_[v];
      pointer_[v] = t.data<char>() + static_cast<size_t>(at) * item_[v];
    } else if (mode_[v] == kStrided) {
      int64_t offset = 0, rest = at;
      for (int i = layout_.rank - 1; i >= 0; --i) {
        offset += rest % layout_.dims[i] * layout_.strides[v][i];
        rest /= layout_.dims[i];
      }
      pointer_[v] = p_.tensors_[v]->data<char>() + static_cast<size_t>(offset) * item_[v];
      step_[v] = layout_.strides[v][layout_.rank - 1] != 0;
    } else if (mode_[v] == kGathered) {
      switch (item_[v]) {
        case 1:
          return Gather<uint8_t>(v, at, n);
        case 2:
          return Gather<uint16_t>(v, at, n);
        case 4:
          return Gather<uint32_t>(v, at, n);
        case 8:
          return Gather<uint64_t>(v, at, n);
        default:
          return Gather<Bytes16>(v, at, n);
      }
    }
  }

  template <class T>
  void Gather(int v, int64_t at, int64_t n) {
    const int last = layout_.rank - 1;
    const int64_t* strides = layout_.strides[v];
    int64_t index[kMaxRank], offset = 0, rest = at;
    for (int i = last; i >= 0; --i) {
      index[i] = rest % layout_.dims[i];
      offset += index[i] * strides[i];
      rest /= layout_.dims[i];
    }
    const T* from = p_.tensors_[v]->data<T>();
    T* to = reinterpret_cast<T*>(pointer_[v]);
    for (int64_t k = 0; k < n;) {
      const int64_t run = std::min(n - k, layout_.dims[last] - index[last]);
      for (int64_t j = 0; j < run; ++j) to[k + j] = from[offset + j * strides[last]];
      k += run;
      offset += run * strides[last];
      index[last] += run;
      for (int i = last; i > 0 && index[i] == layout_.dims[i]; --i) {
        offset += strides[i - 1] - index[i] * strides[i];
        index[i] = 0;
        ++index[i - 1];
      }
    }
  }

  void RunSteps(int64_t n) {
    for (int s = 0; s < p_.num_steps_; ++s) {
      const Step& step = p_.steps_[s];
      char* to = pointer_[step.to];
      const Value a = step.from[0], b = step.from[1], c = step.from[2];
      if (step.select) {
        step.select(to, reinterpret_cast<uint8_t*>(Repeat(a, 1, 0, n)), Repeat(b, step.item, 1, n),
                    Repeat(c, step.item, 2, n), n);
      } else if (step.binary) {
        step.binary(to, pointer_[a], pointer_[b], n, step_[a], step_[b]);
      } else if (step.with_args) {
        step.with_args(to, pointer_[a], pointer_[b], n, step_[a], step_[b], step.args);
      } else if (step_[a]) {
        step.unary(to, pointer_[a], n, step.params);
      } else {
        step.unary(to, Repeat(a, item_[a], 0, n), n, step.params);
      }
    }
  }

  // The value itself, or n copies of its one element.
  char* Repeat(Value v, size_t item, int buffer, int64_t n) {
    if (step_[v]) return pointer_[v];
    char* to = repeated_ + static_cast<size_t>(buffer) * kBufferBytes;
    if (mode_[v] == kConstant && filled_with_[buffer] == v) return to;
    filled_with_[buffer] = v;
    const int64_t count = mode_[v] == kConstant ? kTile : std::min<int64_t>(n, kTile);
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(to + static_cast<size_t>(i) * item, pointer_[v], item);
    return to;
  }

  const TileProgram& p_;
  const Layout& layout_;
  const Tensor& out_;
  const bool gather_;
  int64_t max_span_;
  char* pointer_[kMaxValues] = {};
  int step_[kMaxValues] = {};
  size_t item_[kMaxValues] = {};
  Mode mode_[kMaxValues] = {};
  Value filled_with_[3] = {kOutput, kOutput, kOutput};  // The constant that a buffer repeats.
  alignas(64) char memory_[kBuffers * kBufferBytes];
  alignas(64) char repeated_[3 * kBufferBytes];
};

void TileProgram::Run(ThreadPool& pool, const Tensor& output, int64_t grain) const {
  if (output.size() == 0) return;
  const Layout layout(*this, output.shape());
  // Short rows are assembled into tiles; long ones are used where they lie.
  constexpr int64_t kShortRow = 48;
  const bool gather = layout.rank > 1 && layout.dims[layout.rank - 1] < kShortRow;
  pool.ParallelFor(output.size(), grain, [&](int64_t begin, int64_t end) {
    Walk(*this, layout, output, gather).Run(begin, end);
  });
}

}  // namespace toolkit
