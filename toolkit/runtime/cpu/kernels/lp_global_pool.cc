// LpPool and the global pools.
#include <algorithm>
#include <cmath>

#include "kernels/plane.h"
#include "kernels/pool_common.h"

namespace toolkit {
namespace {

int64_t ParseP(const Attributes& attributes) {
  const int64_t p = attributes.Int("p", 2);
  TK_REQUIRE(p >= 1, ErrorKind::kInvalidArgument, "p must be at least 1, got ", p);
  return p;
}

template <class T>
T AbsPower(T x, int64_t p) {
  return p == 1 ? std::abs(x) : p == 2 ? x * x : std::pow(std::abs(x), static_cast<T>(p));
}

template <class T>
T Root(T x, int64_t p) {
  return p == 1 ? x : p == 2 ? std::sqrt(x) : std::pow(x, T(1) / static_cast<T>(p));
}

// (sum |x|^p)^(1/p); padding adds nothing.
class LpPool : public Kernel {
 public:
  explicit LpPool(const Attributes& attributes) : pool_(attributes), p_(ParseP(attributes)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Window w = pool_.Resolve(x.shape());
    Tensor& y = c.Output(0, x.dtype(), PoolShape(x.shape(), w));
    if (y.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t columns = w.out[w.rank - 1], rows = OutCount(w) / columns;
      const int64_t stride = w.stride[w.rank - 1];
      ForEachPlane(c, x.dim(0) * x.dim(1), OutCount(w) * TapCount(w),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t plane = begin; plane < end; ++plane) {
                       const T* from = x.data<T>() + plane * InCount(w);
                       for (int64_t row = 0; row < rows; ++row) {
                         T* to = y.data<T>() + plane * OutCount(w) + row * columns;
                         std::fill(to, to + columns, T(0));
                         ForEachTap(w, row, [&](int64_t n, int64_t column, int64_t at) {
                           for (int64_t i = 0; i < n; ++i)
                             to[column + i] += AbsPower(from[at + i * stride], p_);
                         });
                         for (int64_t i = 0; i < columns; ++i) to[i] = Root(to[i], p_);
                       }
                     }
                   });
    });
  }

 private:
  PoolAttributes pool_;
  int64_t p_;
};

enum class Global { kAverage, kMax, kLp };

// One value a plane: (N, C, *spatial) -> (N, C, 1, ...).
class GlobalPool : public Kernel {
 public:
  GlobalPool(const Attributes& attributes, Global kind) : kind_(kind), p_(ParseP(attributes)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() >= 3, ErrorKind::kShape,
               "X must have a batch, a channel and at least one spatial dimension, got ",
               x.shape().ToString());
    const int64_t count = x.shape().Count(2, x.rank());
    Shape shape = Shape::Filled(x.rank(), 1);
    shape[0] = x.dim(0), shape[1] = x.dim(1);
    Tensor& y = c.Output(0, x.dtype(), shape);
    TK_REQUIRE(kind_ != Global::kMax || count > 0 || y.size() == 0, ErrorKind::kShape,
               "a maximum requires at least one element, got ", x.shape().ToString());
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForEachPlane(c, y.size(), count, [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane) {
          y.data<T>()[plane] = Reduce(x.data<T>() + plane * count, count);
        }
      });
    });
  }

 private:
  template <class T>
  T Reduce(const T* x, int64_t count) const {
    if (kind_ == Global::kAverage) return RowsOf(T()).row_sum(count, x) / static_cast<T>(count);
    if (kind_ == Global::kMax) return RowsOf(T()).row_max(count, x);
    if (p_ == 2) return std::sqrt(RowsOf(T()).dot(count, x, x, 1));
    T sum = T(0);
    for (int64_t i = 0; i < count; ++i) sum += AbsPower(x[i], p_);
    return Root(sum, p_);
  }

  Global kind_;
  int64_t p_;
};

static const bool kLpPool = Register<LpPool>("LpPool").Types(kFloats).Widen();
static const bool kGlobalAveragePool =
    Register<GlobalPool>("GlobalAveragePool", Global::kAverage).Types(kFloats).Widen();
static const bool kGlobalMaxPool =
    Register<GlobalPool>("GlobalMaxPool", Global::kMax).Types(kFloats).Widen();
static const bool kGlobalLpPool =
    Register<GlobalPool>("GlobalLpPool", Global::kLp).Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
