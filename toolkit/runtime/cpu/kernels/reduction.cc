// The Reduce* operators and SumToShape. See Reduce for passes and parallel split.
#include <cmath>
#include <cstring>

#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace toolkit {
namespace {

constexpr DTypeSet kSumTypes =
    kAnyFloat | Bit(DType::kInt32) | Bit(DType::kInt64) | Bit(DType::kUInt32) | Bit(DType::kUInt64);

// The axes input (1) or, when it is absent, the attribute of older opsets; empty: all or none.
struct Axes {
  explicit Axes(const Attributes& a)
      : attribute(a.Ints("axes")),
        keepdims(a.Int("keepdims", 1) != 0),
        noop_with_empty(a.Int("noop_with_empty_axes", 0) != 0) {}

  std::vector<bool> Mask(const KernelContext& c, int rank) const {
    const int64_t* axes = attribute.data();
    int64_t count = static_cast<int64_t>(attribute.size());
    if (const Tensor* input = c.optional_input(1)) {
      TK_REQUIRE(input->dtype() == DType::kInt64, ErrorKind::kDType, "axes must be int64, got ",
                 Name(input->dtype()));
      axes = input->data<int64_t>();
      count = input->size();
    }
    if (count == 0) return std::vector<bool>(rank, !noop_with_empty);
    return AxesMask(axes, count, rank);
  }
  Shape OutputShape(const Shape& in, const std::vector<bool>& mask) const {
    Shape out;
    for (int i = 0; i < in.rank(); ++i) {
      if (!mask[i])
        out.push_back(in[i]);
      else if (keepdims)
        out.push_back(1);
    }
    return out;
  }

  std::vector<int64_t> attribute;
  bool keepdims, noop_with_empty;
};

// Half precision is reduced in float32: a wide copy in, a narrow copy out.
struct Widened {
  Widened(KernelContext& c, const Tensor& x, const Tensor& y) : c(c), y(y) {
    half = Contains(kHalves, x.dtype());
    dtype = half ? DType::kFloat : x.dtype();
    from = x.raw();
    to = y.raw();
    if (!half) return;
    from = c.Scratch<float>(x.size());
    to = c.Scratch<float>(y.size());
    Convert(WidenHalf(x.dtype()), x, Tensor(dtype, x.shape(), from));
  }
  void Finish() {
    if (half) Convert(NarrowHalf(y.dtype()), Tensor(dtype, y.shape(), to), y);
  }
  void Convert(UnaryFn fn, const Tensor& in, const Tensor& out) {
    TileProgram p;
    p.Unary(fn, TileProgram::kOutput, p.Input(in));
    p.Run(c.pool(), out, kCheapGrain);
  }
  KernelContext& c;
  const Tensor& y;
  bool half;
  DType dtype;
  void *from, *to;
};

enum class Post { kNone, kMean, kSqrt, kLog };

class ReduceKernel : public Kernel {
 public:
  ReduceKernel(const Attributes& a, ReduceOp op, Post post) : axes_(a), op_(op), post_(post) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const auto mask = axes_.Mask(c, x.rank());
    const ReducePlan plan(x.shape(), mask);
    const Tensor& y = c.Output(0, x.dtype(), axes_.OutputShape(x.shape(), mask));
    Widened w(c, x, y);
    const double divisor = post_ == Post::kMean ? static_cast<double>(plan.count) : 1;
    Reduce(c, op_, plan, w.from, w.dtype, w.to, divisor);
    if (post_ == Post::kSqrt || post_ == Post::kLog) Apply(w.to, w.dtype, y.size());
    w.Finish();
  }

 private:
  void Apply(void* y, DType dtype, int64_t n) const {
    DispatchNumbers(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* out = static_cast<T*>(y);
      for (int64_t i = 0; i < n; ++i)
        out[i] = static_cast<T>(post_ == Post::kSqrt ? std::sqrt(out[i]) : std::log(out[i]));
    });
  }
  Axes axes_;
  ReduceOp op_;
  Post post_;
};

// m + log(sum(exp(x - m))), m the maximum: two passes and a temporary as large as x.
class ReduceLogSumExpKernel : public Kernel {
 public:
  explicit ReduceLogSumExpKernel(const Attributes& a) : axes_(a) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const auto mask = axes_.Mask(c, x.rank());
    const ReducePlan plan(x.shape(), mask);
    const Tensor& y = c.Output(0, x.dtype(), axes_.OutputShape(x.shape(), mask));
    Widened w(c, x, y);
    if (w.dtype == DType::kFloat)
      RunAs<float>(c, w, x.shape(), mask, plan);
    else
      RunAs<double>(c, w, x.shape(), mask, plan);
    w.Finish();
  }

 private:
  template <class T>
  void RunAs(KernelContext& c, Widened& w, const Shape& shape, const std::vector<bool>& mask,
             const ReducePlan& plan) const {
    T* y = static_cast<T*>(w.to);
    T* max = c.Scratch<T>(plan.outputs);
    T* terms = c.Scratch<T>(shape.Count());
    Reduce(c, ReduceOp::kMax, plan, w.from, w.dtype, max);
    for (int64_t i = 0; i < plan.outputs; ++i)
      if (std::isinf(max[i])) max[i] = 0;
    Shape kept = shape;
    for (int i = 0; i < shape.rank(); ++i)
      if (mask[i]) kept[i] = 1;
    const Tensor in(w.dtype, shape, w.from), shift(w.dtype, kept, max);
    ArithmeticProgram p(w.dtype);
    const auto a = p.Read(in), b = p.Read(shift), t = p.program().Temporary();
    p.Binary(BinaryOp::kSub, t, a, b);
    p.Unary(UnaryOp::kExp, TileProgram::kOutput, t);
    p.Run(c.pool(), Tensor(w.dtype, shape, terms), kMathGrain);
    Reduce(c, ReduceOp::kSum, plan, terms, w.dtype, y);
    for (int64_t i = 0; i < plan.outputs; ++i) y[i] = max[i] + std::log(y[i]);
  }
  Axes axes_;
};

// Sums dy over the dimensions that broadcasting added or stretched.
void SumToShape(KernelContext& c) {
  const Tensor &dy = c.input(0), &target = c.input(1);
  TK_REQUIRE(target.dtype() == DType::kInt64 && target.rank() == 1, ErrorKind::kDType,
             "shape must be an int64 vector, got ", Name(target.dtype()),
             target.shape().ToString());
  const Shape shape(target.data<int64_t>(), static_cast<size_t>(target.size()));
  const int extra = dy.rank() - shape.rank();
  TK_REQUIRE(extra >= 0, ErrorKind::kShape, "shape ", shape.ToString(),
             " must broadcast to the input, got ", dy.shape().ToString());
  std::vector<bool> mask(dy.rank(), true);
  bool any = false;
  for (int i = 0; i < dy.rank(); ++i) {
    if (i >= extra) {
      const int64_t dim = shape[i - extra];
      TK_REQUIRE(dim == dy.dim(i) || dim == 1, ErrorKind::kShape, "shape ", shape.ToString(),
                 " must broadcast to the input, got ", dy.shape().ToString());
      mask[i] = dim != dy.dim(i);
    }
    any |= mask[i] && dy.dim(i) != 1;
  }
  const Tensor& y = c.Output(0, dy.dtype(), shape);
  if (!any) {
    if (y.raw() != dy.raw() && y.bytes()) std::memcpy(y.raw(), dy.raw(), y.bytes());
    return;
  }
  Widened w(c, dy, y);
  Reduce(c, ReduceOp::kSum, ReducePlan(dy.shape(), mask), w.from, w.dtype, w.to);
  w.Finish();
}

Registration Reduction(const char* op_type, ReduceOp op, Post post, DTypeSet types) {
  return Register<ReduceKernel>(op_type, op, post).Types(types);
}
static const bool kReductions[] = {
    Reduction("ReduceSum", ReduceOp::kSum, Post::kNone, kSumTypes),
    Reduction("ReduceMean", ReduceOp::kSum, Post::kMean, kSumTypes),
    Reduction("ReduceMax", ReduceOp::kMax, Post::kNone, kAnyNumber | kBools),
    Reduction("ReduceMin", ReduceOp::kMin, Post::kNone, kAnyNumber | kBools),
    Reduction("ReduceProd", ReduceOp::kProd, Post::kNone, kSumTypes),
    Reduction("ReduceL1", ReduceOp::kSumAbs, Post::kNone, kSumTypes),
    Reduction("ReduceL2", ReduceOp::kSumSquare, Post::kSqrt, kSumTypes),
    Reduction("ReduceSumSquare", ReduceOp::kSumSquare, Post::kNone, kSumTypes),
    Reduction("ReduceLogSum", ReduceOp::kSum, Post::kLog, kSumTypes),
    Register<ReduceLogSumExpKernel>("ReduceLogSumExp").Types(kAnyFloat),
    RegisterFn("SumToShape", SumToShape).Domain("toolkit.grad").Types(kSumTypes).Inplace(0, 0),
};

}  // namespace
}  // namespace toolkit
