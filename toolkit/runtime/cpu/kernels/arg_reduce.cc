// ArgMax, ArgMin, and what runs along an axis: CumSum, CumProd, CumMax, CumMin, CumLogSumExp. One
// pass, parallel over the dimensions around the axis.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/half.h"
#include "kernels/reduce.h"

namespace toolkit {
namespace {

constexpr int64_t kColumnTile = 128;
constexpr int64_t kGrain = 16384;  // Elements.

// x is [outer, n, inner]. Calls fn(offset of the first element, columns, index of the first
// result) for pieces of at most kColumnTile columns.
template <class Fn>
void ForColumns(ThreadPool& pool, const Shape& shape, int axis, Fn fn) {
  const int64_t n = shape[axis], inner = shape.Count(axis + 1, shape.rank());
  const int64_t outer = shape.Count(0, axis), tiles = (inner + kColumnTile - 1) / kColumnTile;
  const int64_t size = std::max<int64_t>(1, n * std::min(inner, kColumnTile));
  pool.ParallelFor(
      outer * tiles, std::max<int64_t>(1, kGrain / size), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t at = i % tiles * kColumnTile, row = i / tiles;
          fn(row * n * inner + at, std::min(kColumnTile, inner - at), row * inner + at);
        }
      });
}

// The first (or last) of the largest or smallest elements; NaN counts as either, as in numpy.
class ArgKernel : public Kernel {
 public:
  ArgKernel(const Attributes& a, bool max)
      : axis_(a.Int("axis", 0)),
        keepdims_(a.Int("keepdims", 1) != 0),
        last_(a.Int("select_last_index", 0) != 0),
        max_(max) {}
  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    const int axis = NormalizeAxis(axis_, x.rank());
    Shape shape;
    for (int i = 0; i < x.rank(); ++i)
      if (i != axis)
        shape.push_back(x.dim(i));
      else if (keepdims_)
        shape.push_back(1);
    const Tensor& y = c.Output(0, DType::kInt64, shape);
    if (y.size() == 0) return;
    TK_REQUIRE(x.dim(axis) > 0, ErrorKind::kShape, "dimension ", axis,
               " must not be empty, got shape ", x.shape().ToString());
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t n = x.dim(axis), stride = x.shape().Count(axis + 1, x.rank());
      ForColumns(c.pool(), x.shape(), axis, [&](int64_t at, int64_t m, int64_t result) {
        const T* from = x.data<T>() + at;
        int64_t* to = y.data<int64_t>() + result;
        if (stride == 1 && n >= 16) {
          *to = Row(from, n, max_ ? ReduceOp::kMax : ReduceOp::kMin, last_);
          return;
        }
        max_    ? last_ ? Tile<T, true, true>(to, from, n, m, stride)
                        : Tile<T, true, false>(to, from, n, m, stride)
        : last_ ? Tile<T, false, true>(to, from, n, m, stride)
                : Tile<T, false, false>(to, from, n, m, stride);
      });
    });
  }

 private:
  // A long row: its extreme by vectors, then the first or last block that holds it.
  template <class T>
  static int64_t Row(const T* x, int64_t n, ReduceOp op, bool last) {
    Accumulator best = NeutralAccumulator(op, DTypeOf<T>::kValue);
    Reductions().row[static_cast<int>(op)][static_cast<int>(ElementOf(DTypeOf<T>::kValue))](&best,
                                                                                            x, n);
    T target;
    if constexpr (std::is_floating_point_v<T>)
      target = static_cast<T>(best.f);
    else
      target = static_cast<T>(best.u);
    const bool nan = target != target;
    constexpr int64_t kBlock = 64;
    const int64_t blocks = (n + kBlock - 1) / kBlock;
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t begin = (last ? blocks - 1 - k : k) * kBlock;
      const int64_t end = std::min(begin + kBlock, n);
      int found = 0;
      for (int64_t i = begin; i < end; ++i) found |= nan ? x[i] != x[i] : x[i] == target;
      if (!found) continue;
      int64_t at = last ? end - 1 : begin;
      while (nan ? x[at] == x[at] : x[at] != target) at += last ? -1 : 1;
      return at;
    }
    return 0;
  }
  template <class T, bool kMax, bool kLast>
  static void Tile(int64_t* y, const T* x, int64_t n, int64_t m, int64_t stride) {
    T best[kColumnTile];
    int64_t index[kColumnTile] = {};
    std::copy_n(x, m, best);
    for (int64_t r = 1; r < n; ++r)
      for (int64_t j = 0; j < m; ++j) {
        const T v = x[r * stride + j], b = best[j];
        const bool beats = kMax ? v > b : v < b;
        const bool ties = kLast && (v == b || (v != v && b != b));
        if (beats || ties || (v != v && b == b)) {
          best[j] = v;
          index[j] = r;
        }
      }
    std::copy_n(index, m, y);
  }
  int64_t axis_;
  bool keepdims_, last_, max_;
};

// Floats add in double; integers wrap.
class CumulativeKernel : public Kernel {
 public:
  CumulativeKernel(const Attributes& a, bool product)
      : exclusive_(a.Int("exclusive", 0) != 0),
        reverse_(a.Int("reverse", 0) != 0),
        product_(product) {}
  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    const Tensor& axis_input = c.input(1);
    TK_REQUIRE(axis_input.size() == 1, ErrorKind::kShape, "axis must be a scalar, got shape ",
               axis_input.shape().ToString());
    TK_REQUIRE(axis_input.dtype() == DType::kInt64 || axis_input.dtype() == DType::kInt32,
               ErrorKind::kDType, "axis must be int64 or int32, got ", Name(axis_input.dtype()));
    const int64_t value = axis_input.dtype() == DType::kInt64 ? *axis_input.data<int64_t>()
                                                              : *axis_input.data<int32_t>();
    const int axis = NormalizeAxis(value, x.rank());
    WideOutput output(c, 0, c.input(0).dtype(), x.shape());
    const Tensor& y = output.tensor();
    if (x.size() == 0) return;
    const int64_t n = x.dim(axis), stride = x.shape().Count(axis + 1, x.rank());
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForColumns(c.pool(), x.shape(), axis, [&](int64_t at, int64_t m, int64_t) {
        product_ ? Tile<T, true>(y.data<T>() + at, x.data<T>() + at, n, m, stride)
                 : Tile<T, false>(y.data<T>() + at, x.data<T>() + at, n, m, stride);
      });
    });
    output.Finish();
  }

 private:
  template <class T, bool kProduct>
  void Tile(T* y, const T* x, int64_t n, int64_t m, int64_t stride) const {
    using A = SumOf<T>;
    A acc[kColumnTile];
    std::fill_n(acc, m, A(kProduct ? 1 : 0));
    for (int64_t k = 0; k < n; ++k) {
      const int64_t at = (reverse_ ? n - 1 - k : k) * stride;
      for (int64_t j = 0; j < m; ++j) {
        const A before = acc[j], v = static_cast<A>(x[at + j]);
        acc[j] = kProduct ? before * v : before + v;
        y[at + j] = static_cast<T>(exclusive_ ? before : acc[j]);
      }
    }
  }
  bool exclusive_, reverse_, product_;
};

// The extreme up to each place and where it is: the last of equals; NaN counts as either.
class CumExtremeKernel : public Kernel {
 public:
  CumExtremeKernel(const Attributes& a, bool max) : axis_(a.Int("axis", -1)), max_(max) {}
  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    const int axis = NormalizeAxis(axis_, x.rank());
    WideOutput output(c, 0, c.input(0).dtype(), x.shape());
    const Tensor& y = output.tensor();
    const Tensor& places = c.Output(1, DType::kInt64, x.shape());
    if (x.size() == 0) return;
    const int64_t n = x.dim(axis), stride = x.shape().Count(axis + 1, x.rank());
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForColumns(c.pool(), x.shape(), axis, [&](int64_t at, int64_t m, int64_t) {
        const T* from = x.data<T>() + at;
        T* to = y.data<T>() + at;
        int64_t* index = places.data<int64_t>() + at;
        max_ ? Tile<T, true>(to, index, from, n, m, stride)
             : Tile<T, false>(to, index, from, n, m, stride);
      });
    });
    output.Finish();
  }

 private:
  template <class T, bool kMax>
  static void Tile(T* y, int64_t* index, const T* x, int64_t n, int64_t m, int64_t stride) {
    T best[kColumnTile];
    int64_t place[kColumnTile] = {};
    std::copy_n(x, m, best);
    for (int64_t k = 0; k < n; ++k)
      for (int64_t j = 0; j < m; ++j) {
        const T v = x[k * stride + j];
        if ((kMax ? v >= best[j] : v <= best[j]) || v != v) {
          best[j] = v;
          place[j] = k;
        }
        y[k * stride + j] = best[j];
        index[k * stride + j] = place[j];
      }
  }
  int64_t axis_;
  bool max_;
};

// log(e^x_0 + ... + e^x_i): the largest so far, and the sum of exponentials less it, in double.
class CumLogSumExpKernel : public Kernel {
 public:
  explicit CumLogSumExpKernel(const Attributes& a)
      : axis_(a.Int("axis", -1)), reverse_(a.Int("reverse", 0) != 0) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int axis = NormalizeAxis(axis_, x.rank());
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    if (x.size() == 0) return;
    const int64_t n = x.dim(axis), stride = x.shape().Count(axis + 1, x.rank());
    ForColumns(c.pool(), x.shape(), axis, [&](int64_t at, int64_t m, int64_t) {
      x.dtype() == DType::kFloat ? Tile(y.data<float>() + at, x.data<float>() + at, n, m, stride)
                                 : Tile(y.data<double>() + at, x.data<double>() + at, n, m, stride);
    });
  }

 private:
  template <class T>
  void Tile(T* y, const T* x, int64_t n, int64_t m, int64_t stride) const {
    double top[kColumnTile], sum[kColumnTile];
    std::fill_n(top, m, -std::numeric_limits<double>::infinity());
    std::fill_n(sum, m, 0.0);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t at = (reverse_ ? n - 1 - k : k) * stride;
      for (int64_t j = 0; j < m; ++j) {
        const double v = static_cast<double>(x[at + j]);
        if (v > top[j]) {
          sum[j] = sum[j] * std::exp(top[j] - v) + 1.0;
          top[j] = v;
        } else if (v == top[j] && std::isinf(v)) {
          // Infinite already, or still zero: their difference is no number.
          sum[j] = sum[j] != sum[j] ? sum[j] : 1.0;
        } else {
          sum[j] += std::exp(v - top[j]);
        }
        y[at + j] = static_cast<T>(top[j] + std::log(sum[j]));
      }
    }
  }
  int64_t axis_;
  bool reverse_;
};

static const bool kArg[] = {
    Register<ArgKernel>("ArgMax", true).Types(kAnyNumber),
    Register<ArgKernel>("ArgMin", false).Types(kAnyNumber),
    Register<CumulativeKernel>("CumSum", false).Types(kAnyNumber).Inplace(0, 0),
    Register<CumulativeKernel>("CumProd", true).Types(kAnyNumber).Inplace(0, 0),
    Register<CumExtremeKernel>("CumMax", true).Types(kAnyNumber).Domain("toolkit.nn"),
    Register<CumExtremeKernel>("CumMin", false).Types(kAnyNumber).Domain("toolkit.nn"),
    Register<CumLogSumExpKernel>("CumLogSumExp").Types(kFloats).Widen().Domain("toolkit.nn"),
};

}  // namespace
}  // namespace toolkit
