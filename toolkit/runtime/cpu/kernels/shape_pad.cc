// Pad and CenterCropPad.
#include <string>

#include "kernels/movement.h"

namespace toolkit {
namespace {

enum class PadMode { kConstant, kReflect, kEdge, kWrap };

// One axis of a padded tensor. `source[i]` is where element i comes from, -1: the constant;
// elements [begin, end) are consecutive in the source.
struct PadAxis {
  int64_t begin = 0, end = 0;
  std::vector<int64_t> source;
};

// The source of position i of a window of n elements that is continued on both sides.
int64_t Continue(int64_t i, int64_t n, PadMode mode) {
  switch (mode) {
    case PadMode::kEdge:
      return std::clamp<int64_t>(i, 0, n - 1);
    case PadMode::kWrap:
      return (i % n + n) % n;
    case PadMode::kReflect: {
      if (n == 1) return 0;
      const int64_t period = 2 * (n - 1), at = (i % period + period) % period;
      return at < n ? at : period - at;
    }
    default:
      return -1;
  }
}

// Negative pads crop first; the rest is padded by continuing what was left.
PadAxis MakeAxis(int64_t dim, int64_t before, int64_t after, PadMode mode) {
  constexpr int64_t kLimit = int64_t{1} << 48;
  const auto fits = [](int64_t pad) { return pad > -kLimit && pad < kLimit; };
  TK_REQUIRE(fits(before) && fits(after), ErrorKind::kShape,
             "pads must be sizes that fit into memory, got ", before, " and ", after);
  const int64_t low = std::max<int64_t>(0, -before);
  const int64_t high = dim - std::max<int64_t>(0, -after);
  TK_REQUIRE(low <= high, ErrorKind::kShape, "negative pads must leave an axis of ", dim,
             " at least empty, got ", before, " and ", after);
  before = std::max<int64_t>(0, before);
  after = std::max<int64_t>(0, after);
  const int64_t n = high - low, total = before + n + after;
  TK_REQUIRE(mode == PadMode::kConstant || n > 0 || total == 0, ErrorKind::kShape,
             "an empty axis can be padded with a constant only");
  CheckedBytes(DType::kInt64, {total});
  PadAxis axis;
  axis.begin = before;
  axis.end = before + n;
  axis.source.resize(total);
  for (int64_t i = 0; i < total; ++i) {
    const int64_t at = i - before;
    axis.source[i] = at >= 0 && at < n ? low + at : Continue(at, n, mode);
    if (axis.source[i] >= 0 && (at < 0 || at >= n)) axis.source[i] += low;
  }
  return axis;
}

// One row of y: elements of `inner` units of T, taken from a row of x along the last padded axis.
template <class T>
void PadRow(T* y, const T* x, const PadAxis& axis, int64_t inner, T value) {
  const auto rim = [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      if (axis.source[i] < 0)
        std::fill_n(y + i * inner, inner, value);
      else
        std::copy_n(x + axis.source[i] * inner, inner, y + i * inner);
    }
  };
  rim(0, axis.begin);
  if (axis.end > axis.begin)
    std::memcpy(y + axis.begin * inner, x + axis.source[axis.begin] * inner,
                static_cast<size_t>((axis.end - axis.begin) * inner) * sizeof(T));
  rim(axis.end, static_cast<int64_t>(axis.source.size()));
}

// One pass over y by rows, in parallel over rows.
template <class T>
void PadRows(ThreadPool& pool, const Tensor& x, const Tensor& y, const std::vector<PadAxis>& axes,
             int last, T value) {
  const int rank = x.rank();
  const int64_t inner = x.shape().Count(last + 1, rank);
  const int64_t x_row = x.dim(last) * inner, y_row = y.dim(last) * inner;
  const T* in = x.data<T>();
  T* out = y.data<T>();
  const int64_t grain = std::max<int64_t>(
      1, kCopyGrain / static_cast<int64_t>(sizeof(T)) / std::max<int64_t>(1, y_row));
  pool.ParallelFor(y.shape().Count(0, last), grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, source = 0, stride = 1;
      bool outside = false;
      for (int d = last - 1; d >= 0; --d) {
        const int64_t at = axes[d].source[rest % y.dim(d)];
        rest /= y.dim(d);
        outside |= at < 0;
        source += at * stride;
        stride *= x.dim(d);
      }
      if (outside)
        std::fill_n(out + row * y_row, y_row, value);
      else
        PadRow(out + row * y_row, in + source * x_row, axes[last], inner, value);
    }
  });
}

// `pads` holds (before, after) of every axis; `value` points at one element, null: 0.
void PadTensor(KernelContext& c, const Tensor& x,
               const std::vector<std::pair<int64_t, int64_t>>& pads, PadMode mode,
               const void* value) {
  std::vector<PadAxis> axes;
  Shape shape;
  int last = 0;  // The last axis that changes; what lies below moves in one piece.
  for (int i = 0; i < x.rank(); ++i) {
    axes.push_back(MakeAxis(x.dim(i), pads[i].first, pads[i].second, mode));
    shape.push_back(static_cast<int64_t>(axes[i].source.size()));
    if (pads[i].first != 0 || pads[i].second != 0) last = i;
  }
  Tensor& y = c.Output(0, x.dtype(), shape);
  if (y.size() == 0) return;
  DispatchBySize(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T v{};
    if (value) std::memcpy(&v, value, sizeof(T));
    if (x.rank() == 0)
      *y.data<T>() = *x.data<T>();
    else
      PadRows<T>(c.pool(), x, y, axes, last, v);
  });
}

class Pad : public Kernel {
 public:
  explicit Pad(const Attributes& a) {
    const std::string mode = a.String("mode", "constant");
    if (mode == "constant")
      mode_ = PadMode::kConstant;
    else if (mode == "reflect")
      mode_ = PadMode::kReflect;
    else if (mode == "edge")
      mode_ = PadMode::kEdge;
    else if (mode == "wrap")
      mode_ = PadMode::kWrap;
    else
      Fail(ErrorKind::kInvalidArgument, "mode must be constant, reflect, edge or wrap, got ", mode);
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const std::vector<int64_t> pads = ReadInts(c.input(1), "pads");
    std::vector<int> axes;
    if (const Tensor* given = c.optional_input(3)) {
      axes = NormalizeAxes(ReadInts(*given, "axes"), x.rank());
    } else {
      for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
    }
    TK_REQUIRE(pads.size() == 2 * axes.size(), ErrorKind::kShape,
               "pads must hold two numbers for each of the ", axes.size(), " axes, got ",
               pads.size());
    static constexpr uint8_t kNanE8M0 = 0xff;  // float8_e8m0 has no zero.
    const void* value = x.dtype() == DType::kFloat8E8M0 ? &kNanE8M0 : nullptr;
    if (const Tensor* v = c.optional_input(2)) {
      TK_REQUIRE(v->dtype() == x.dtype() && v->size() == 1, ErrorKind::kInvalidArgument,
                 "constant_value must be one ", Name(x.dtype()), ", got ", Name(v->dtype()), " ",
                 v->shape().ToString());
      value = v->raw();
    }
    std::vector<std::pair<int64_t, int64_t>> all(x.rank());
    for (size_t i = 0; i < axes.size(); ++i) all[axes[i]] = {pads[i], pads[axes.size() + i]};
    PadTensor(c, x, all, mode_, value);
  }

 private:
  PadMode mode_;
};

class CenterCropPad : public Kernel {
 public:
  explicit CenterCropPad(const Attributes& a) : given_(a.Has("axes")), axes_(a.Ints("axes")) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const std::vector<int64_t> target = ReadInts(c.input(1), "shape");
    std::vector<int64_t> axes = axes_;
    if (!given_)
      for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
    TK_REQUIRE(target.size() == axes.size(), ErrorKind::kShape,
               "shape must hold one size for each of ", axes.size(), " axes, got ", target.size());
    const std::vector<int> normalized = NormalizeAxes(axes, x.rank());
    std::vector<std::pair<int64_t, int64_t>> pads(x.rank());
    for (size_t i = 0; i < target.size(); ++i) {
      TK_REQUIRE(target[i] >= 0, ErrorKind::kShape, "shape must hold no negative sizes, got ",
                 target[i]);
      // The smaller half goes before in a crop and in a pad alike.
      const int64_t more = target[i] - x.dim(normalized[i]);
      pads[normalized[i]] = {more / 2, more - more / 2};
    }
    PadTensor(c, x, pads, PadMode::kConstant, nullptr);
  }

 private:
  bool given_;
  std::vector<int64_t> axes_;
};

static const bool kPads = Register<Pad>("Pad") && Register<CenterCropPad>("CenterCropPad");

}  // namespace
}  // namespace toolkit
