// If, Loop, Scan and SequenceMap: kernels whose attributes are programs.
//
// Lowering appends what a body reads of outer graphs to the node's inputs (its captures) and says
// in attributes how many inputs are the operator's own. Bodies run one after the other; their
// kernels use the thread pool.
#include <cstring>

#include "core/program.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

Tensor Scalar(DType dtype, int64_t value) {
  Tensor t = Tensor::Empty(dtype, Shape{});
  if (dtype == DType::kBool)
    *t.data<bool>() = value != 0;
  else
    *t.data<int64_t>() = value;
  return t;
}

bool Truth(const Tensor& t, const char* what) {
  TK_REQUIRE(t.dtype() == DType::kBool && t.size() == 1, ErrorKind::kInvalidArgument, what,
             " must be one bool, got ", Name(t.dtype()), t.shape().ToString());
  return *t.data<bool>();
}

// A value that outlives the arena: itself if it owns its memory.
Tensor Owned(const Tensor& t) { return t.buffer() || !t.is_tensor() ? t : t.Clone(); }

// Gives output i; a value that lies in an input's memory is copied, for that memory may be reused
// or belong to the caller.
void GiveApart(KernelContext& c, int i, const Tensor& value) {
  if (!c.has_output(i)) return;
  const char* at = value.data<char>();
  bool inside = !value.buffer() && value.is_tensor();
  for (int k = 0; k < c.num_inputs() && !inside; ++k) {
    if (!c.has_input(k)) continue;
    const Tensor& x = c.input(k);
    inside = at >= x.data<char>() && at < x.data<char>() + x.bytes();
  }
  c.Give(i, inside ? value.Clone() : value);
}

void RequireArity(const char* what, int64_t need, int64_t got) {
  TK_REQUIRE(need == got, ErrorKind::kInvalidModel, what, ": ", need, " are required, got ", got);
}

class If : public Kernel {
 public:
  explicit If(const Attributes& a)
      : then_(a.Graph("then_branch")),
        else_(a.Graph("else_branch")),
        then_captures_(static_cast<int>(a.Int("then_captures", 0))) {}

  void Run(KernelContext& c) const override {
    const bool chosen = Truth(c.input(0), "the condition");
    const int begin = chosen ? 1 : 1 + then_captures_;
    const int end = chosen ? 1 + then_captures_ : c.num_inputs();
    std::vector<Tensor> inputs;
    for (int i = begin; i < end; ++i) inputs.push_back(c.input(i));
    const std::vector<Tensor> outputs = (chosen ? then_ : else_)->Run(inputs, true);
    RequireArity("outputs of the branch", c.num_outputs(), static_cast<int64_t>(outputs.size()));
    for (int i = 0; i < c.num_outputs(); ++i) GiveApart(c, i, outputs[i]);
  }

 private:
  std::shared_ptr<Program> then_, else_;
  int then_captures_;
};

// The values of one scan output, one an iteration, that become slices along a new axis.
class Stack {
 public:
  void Add(const Tensor& t) {
    if (!items_.empty())
      TK_REQUIRE(t.dtype() == items_[0].dtype() && t.shape() == items_[0].shape(),
                 ErrorKind::kShape, "a scan output must keep its type and shape, ",
                 Name(items_[0].dtype()), items_[0].shape().ToString(), ", got ", Name(t.dtype()),
                 t.shape().ToString());
    items_.push_back(Owned(t));
  }

  // Output i of `c`; `empty` tells type and shape of an item where there is none.
  void Give(KernelContext& c, int i, int64_t axis, bool reversed, const Tensor& empty) const {
    if (!c.has_output(i)) return;
    const Tensor& item = items_.empty() ? empty : items_[0];
    TK_REQUIRE(item.defined(), ErrorKind::kInvalidModel, "output ", i,
               " of no iterations has no known type");
    const int at = NormalizeAxis(axis, item.rank() + 1);
    Shape shape;
    for (int d = 0; d <= item.rank(); ++d)
      shape.push_back(d < at    ? item.dim(d)
                      : d == at ? static_cast<int64_t>(items_.size())
                                : item.dim(d - 1));
    Tensor y = Tensor::Empty(item.dtype(), shape);
    const int64_t n = static_cast<int64_t>(items_.size());
    const int64_t outer = shape.Count(0, at), inner = shape.Count(at + 1, shape.rank());
    for (int64_t k = 0; k < n && outer * inner > 0; ++k) {
      StridedCopy copy(y.dtype());
      copy.Add(outer, n * inner, inner);
      copy.Add(inner, 1, 1);
      const int64_t offset = (reversed ? n - 1 - k : k) * inner;
      copy.Run(c.pool(), y.data<char>() + offset * static_cast<int64_t>(ItemSize(y.dtype())),
               items_[k].raw());
    }
    c.Give(i, std::move(y));
  }

 private:
  std::vector<Tensor> items_;
};

// What If, Loop and Scan share: a body, and what its scan outputs are when it never runs.
struct Body {
  Body(const Attributes& a, const char* name) : program(a.Graph(name)) {
    const std::vector<int64_t> types = a.Ints("scan_types");
    for (size_t k = 0; k < types.size(); ++k) {
      const std::vector<int64_t> dims = a.Ints("scan_shape_" + std::to_string(k));
      const auto type = static_cast<DType>(types[k]);
      empty.push_back(types[k] > 0 && ItemSize(type)
                          ? Tensor(type, Shape(dims.data(), dims.size()), nullptr)
                          : Tensor());
    }
  }
  std::shared_ptr<Program> program;
  std::vector<Tensor> empty;  // By scan output; not defined where the type is not known.
};

class Loop : public Kernel {
 public:
  explicit Loop(const Attributes& a)
      : body_(a, "body"), own_(static_cast<int>(a.Int("own_inputs", 2))) {}

  void Run(KernelContext& c) const override {
    const int carried = own_ - 2, scans = c.num_outputs() - carried;
    RequireArity("outputs of the body", c.num_outputs() + 1, body_.program->num_outputs());
    RequireArity("scan outputs of the body", scans, static_cast<int64_t>(body_.empty.size()));
    const int64_t trips = Trips(c);
    bool go = !c.has_input(1) || Truth(c.input(1), "cond");
    std::vector<Tensor> inputs(2);
    for (int i = 2; i < c.num_inputs(); ++i)
      inputs.push_back(i < own_ ? Owned(c.input(i)) : c.input(i));
    std::vector<Stack> stacks(scans);
    for (int64_t trip = 0; go && trip < trips; ++trip) {
      inputs[0] = Scalar(DType::kInt64, trip);
      inputs[1] = Scalar(DType::kBool, true);
      std::vector<Tensor> outputs = body_.program->Run(inputs, true);
      go = Truth(outputs[0], "the body's condition");
      for (int i = 0; i < carried; ++i) inputs[2 + i] = std::move(outputs[1 + i]);
      for (int k = 0; k < scans; ++k) stacks[k].Add(outputs[1 + carried + k]);
    }
    for (int i = 0; i < carried; ++i) GiveApart(c, i, inputs[2 + i]);
    for (int k = 0; k < scans; ++k) stacks[k].Give(c, carried + k, 0, false, body_.empty[k]);
  }

 private:
  static int64_t Trips(const KernelContext& c) {
    if (!c.has_input(0)) return INT64_MAX;
    return ReadInt(c.input(0), "M");
  }
  Body body_;
  int own_;  // Inputs that are not captures.
};

class Scan : public Kernel {
 public:
  explicit Scan(const Attributes& a)
      : body_(a, "body"),
        own_(static_cast<int>(a.Int("own_inputs", 0))),
        scanned_(static_cast<int>(a.Int("num_scan_inputs", 0))),
        in_axes_(a.Ints("scan_input_axes")),
        out_axes_(a.Ints("scan_output_axes")),
        in_reversed_(a.Ints("scan_input_directions")),
        out_reversed_(a.Ints("scan_output_directions")) {
    TK_REQUIRE(scanned_ >= 1 && scanned_ <= own_, ErrorKind::kInvalidModel,
               "num_scan_inputs must lie in [1, ", own_, "], got ", scanned_);
  }

  void Run(KernelContext& c) const override {
    const int states = own_ - scanned_, scans = c.num_outputs() - states;
    RequireArity("outputs of the body", c.num_outputs(), body_.program->num_outputs());
    RequireArity("scan outputs of the body", scans, static_cast<int64_t>(body_.empty.size()));
    std::vector<Tensor> inputs(c.num_inputs()), sequences;
    for (int i = 0; i < c.num_inputs(); ++i)
      inputs[i] = i < states ? Owned(c.input(i)) : c.input(i);
    int64_t length = -1;
    for (int k = 0; k < scanned_; ++k) {
      sequences.push_back(AxisFirst(c, c.input(states + k), At(in_axes_, k)));
      const int64_t n = sequences[k].dim(0);
      TK_REQUIRE(length < 0 || n == length, ErrorKind::kShape,
                 "scan inputs must have one length, got ", length, " and ", n);
      length = n;
    }
    std::vector<Stack> stacks(scans);
    for (int64_t t = 0; t < length; ++t) {
      for (int k = 0; k < scanned_; ++k)
        inputs[states + k] = Row(sequences[k], At(in_reversed_, k) ? length - 1 - t : t);
      std::vector<Tensor> outputs = body_.program->Run(inputs, true);
      for (int i = 0; i < states; ++i) inputs[i] = std::move(outputs[i]);
      for (int k = 0; k < scans; ++k) stacks[k].Add(outputs[states + k]);
    }
    for (int i = 0; i < states; ++i) GiveApart(c, i, inputs[i]);
    for (int k = 0; k < scans; ++k)
      stacks[k].Give(c, states + k, At(out_axes_, k), At(out_reversed_, k) != 0, body_.empty[k]);
  }

 private:
  static int64_t At(const std::vector<int64_t>& list, int k) {
    return k < static_cast<int>(list.size()) ? list[k] : 0;
  }
  // x with `axis` moved to the front; x itself where it is there.
  static Tensor AxisFirst(KernelContext& c, const Tensor& x, int64_t given) {
    TK_REQUIRE(x.is_tensor() && x.rank() > 0, ErrorKind::kShape,
               "a scan input must have an axis to scan, got a scalar");
    const int axis = NormalizeAxis(given, x.rank());
    if (axis == 0) return x;
    Shape shape{x.dim(axis)};
    for (int d = 0; d < x.rank(); ++d)
      if (d != axis) shape.push_back(x.dim(d));
    Tensor y = Tensor::Empty(x.dtype(), shape);
    const Shape from = StridesOf(x.shape()), to = StridesOf(shape);
    StridedCopy copy(x.dtype());
    copy.Add(shape[0], to[0], from[axis]);
    for (int d = 0, i = 1; d < x.rank(); ++d)
      if (d != axis) copy.Add(x.dim(d), to[i++], from[d]);
    copy.Run(c.pool(), y.raw(), x.raw());
    return y;
  }
  // Slice t along the first axis, in place.
  static Tensor Row(const Tensor& x, int64_t t) {
    const Shape shape(x.shape().begin() + 1, static_cast<size_t>(x.rank() - 1));
    const int64_t bytes = shape.Count() * static_cast<int64_t>(ItemSize(x.dtype()));
    return Tensor(x.dtype(), shape, x.data<char>() + t * bytes, x.buffer());
  }

  Body body_;
  int own_, scanned_;
  std::vector<int64_t> in_axes_, out_axes_, in_reversed_, out_reversed_;
};

// Sequences are walked together; a tensor among the inputs is the same at each step.
class SequenceMap : public Kernel {
 public:
  explicit SequenceMap(const Attributes& a)
      : body_(a.Graph("body")), own_(static_cast<int>(a.Int("own_inputs", 1))) {}

  void Run(KernelContext& c) const override {
    RequireArity("outputs of the body", c.num_outputs(), body_->num_outputs());
    const auto length = static_cast<int64_t>(c.input(0).items().size());
    std::vector<Tensor> inputs(c.num_inputs());
    for (int i = 0; i < c.num_inputs(); ++i) inputs[i] = c.input(i);
    std::vector<std::vector<Tensor>> results(c.num_outputs());
    for (int64_t t = 0; t < length; ++t) {
      for (int i = 0; i < own_; ++i) {
        if (c.input(i).dtype() != DType::kSequence) continue;
        const std::vector<Tensor>& items = c.input(i).items();
        RequireArity("items of the sequences", length, static_cast<int64_t>(items.size()));
        inputs[i] = items[t];
      }
      std::vector<Tensor> outputs = body_->Run(inputs);
      for (int i = 0; i < c.num_outputs(); ++i) results[i].push_back(std::move(outputs[i]));
    }
    for (int i = 0; i < c.num_outputs(); ++i) c.Give(i, Tensor::Sequence(std::move(results[i])));
  }

 private:
  std::shared_ptr<Program> body_;
  int own_;  // Inputs that are not captures.
};

static const bool kControlFlow[] = {
    Register<If>("If").Types(kBools).Gives(),
    Register<Loop>("Loop").Types(kAnyValue).Gives(),
    Register<Scan>("Scan").Types(kAnyValue).Gives(),
    Register<SequenceMap>("SequenceMap").Types(kSequences).Gives(),
};

}  // namespace
}  // namespace toolkit
