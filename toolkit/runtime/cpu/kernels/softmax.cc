// Softmax, LogSoftmax, Hardmax and the gradients. Parallel over rows (last axis) or over the outer
// dimensions and tiles of columns.
#include "simd/softmax.h"

#include <algorithm>

#include "kernels/normalization.h"

namespace toolkit {

template <>
const SoftmaxFunctions<float>& SoftmaxOf<float>() {
  return Softmaxes().f32;
}
template <>
const SoftmaxFunctions<double>& SoftmaxOf<double>() {
  return Softmaxes().f64;
}

namespace {

constexpr int64_t kColumnTile = 128;

// x seen as [outer, n, inner] around an axis.
struct AxisView {
  AxisView(const Shape& shape, int axis)
      : outer(shape.Count(0, axis)), n(shape[axis]), inner(shape.Count(axis + 1, shape.rank())) {}
  int64_t outer, n, inner;
};

// Calls row(offset) for each contiguous row, or columns(offset, m) for each tile of columns.
template <class Row, class Columns>
void ForEach(ThreadPool& pool, const AxisView& v, int64_t cost, Row row, Columns columns) {
  if (v.inner == 1) {
    const int64_t grain = std::max<int64_t>(1, cost / std::max<int64_t>(v.n, 1));
    return pool.ParallelFor(v.outer, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(i * v.n);
    });
  }
  const int64_t tiles = (v.inner + kColumnTile - 1) / kColumnTile;
  const int64_t size = std::max<int64_t>(v.n * std::min(v.inner, kColumnTile), 1);
  pool.ParallelFor(v.outer * tiles, std::max<int64_t>(1, cost / size),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t at = i % tiles * kColumnTile;
                       columns(i / tiles * v.n * v.inner + at, std::min(kColumnTile, v.inner - at));
                     }
                   });
}

class SoftmaxKernel : public Kernel {
 public:
  SoftmaxKernel(const Attributes& a, bool log) : axis_(a.Int("axis", -1)), log_(log) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const AxisView v(x.shape(), NormalizeAxis(axis_, x.rank()));
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    if (x.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const auto& fn = SoftmaxOf<T>();
      const auto row = log_ ? fn.log_row : fn.row;
      const auto columns = log_ ? fn.log_columns : fn.columns;
      ForEach(
          c.pool(), v, kMathGrain,
          [&](int64_t at) { row(y.data<T>() + at, x.data<T>() + at, v.n); },
          [&](int64_t at, int64_t m) {
            columns(y.data<T>() + at, x.data<T>() + at, v.n, m, v.inner);
          });
    });
  }

 private:
  int64_t axis_;
  bool log_;
};

// One at the first maximum, zero elsewhere.
class HardmaxKernel : public Kernel {
 public:
  explicit HardmaxKernel(const Attributes& a) : axis_(a.Int("axis", -1)) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const AxisView v(x.shape(), NormalizeAxis(axis_, x.rank()));
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    if (x.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(v.outer, std::max<int64_t>(1, kCheapGrain / (v.n * v.inner)),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t i = begin; i < end; ++i)
                               for (int64_t j = 0; j < v.inner; ++j)
                                 One(y.data<T>() + i * v.n * v.inner + j,
                                     x.data<T>() + i * v.n * v.inner + j, v.n, v.inner);
                           });
    });
  }

 private:
  template <class T>
  static void One(T* y, const T* x, int64_t n, int64_t stride) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i) {
      const T top = x[best * stride], v = x[i * stride];
      if (v > top || (v != v && top == top)) best = i;
    }
    for (int64_t i = 0; i < n; ++i) y[i * stride] = i == best ? T(1) : T(0);
  }
  int64_t axis_;
};

// Softmax: dx = y (dy - sum(y dy)). LogSoftmax: dx = dy - exp(y) sum(dy). Two passes.
class SoftmaxGradKernel : public Kernel {
 public:
  SoftmaxGradKernel(const Attributes& a, bool log) : axis_(a.Int("axis", -1)), log_(log) {}
  void Run(KernelContext& c) const override {
    const Tensor &y = c.input(0), &dy = c.input(1);
    RequireSameDType(y, dy);
    TK_REQUIRE(y.shape() == dy.shape(), ErrorKind::kShape, "dy must have the shape of y ",
               y.shape().ToString(), ", got ", dy.shape().ToString());
    const AxisView v(y.shape(), NormalizeAxis(axis_, y.rank()));
    const Tensor& dx = c.Output(0, y.dtype(), y.shape());
    if (y.size() == 0) return;
    DispatchFloats(y.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const auto& fn =
          log_ ? Normalizations<T>().log_softmax_grad : Normalizations<T>().softmax_grad;
      const auto run = [&](int64_t at, int64_t m) {
        fn(dx.data<T>() + at, y.data<T>() + at, dy.data<T>() + at, v.n, m, v.inner);
      };
      ForEach(c.pool(), v, kMathGrain, [&](int64_t at) { run(at, 1); }, run);
    });
  }

 private:
  int64_t axis_;
  bool log_;
};

static const bool kSoftmax[] = {
    Register<SoftmaxKernel>("Softmax", false).Types(kFloats).Widen().Inplace(0, 0),
    Register<SoftmaxKernel>("LogSoftmax", true).Types(kFloats).Widen().Inplace(0, 0),
    Register<HardmaxKernel>("Hardmax").Types(kFloats).Widen().Inplace(0, 0),
    Register<SoftmaxGradKernel>("SoftmaxGrad", false)
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen()
        .Inplace(0, 0)
        .Inplace(1, 0),
    Register<SoftmaxGradKernel>("LogSoftmaxGrad", true)
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen()
        .Inplace(0, 0)
        .Inplace(1, 0),
};

}  // namespace
}  // namespace toolkit
