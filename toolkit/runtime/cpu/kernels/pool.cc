// MaxPool, AveragePool and their gradients.
//
// A plane is one channel of one image. Planes are independent and run in parallel; inside a plane,
// each output row is built tap by tap from the input rows under it.
#include "simd/pool.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/plane_bands.h"
#include "kernels/pool_common.h"

namespace toolkit {
namespace {

constexpr DTypeSet kMaxTypes = kFloats | Bit(DType::kInt8) | Bit(DType::kUInt8);

template <class Fn>
decltype(auto) DispatchMax(DType t, Fn&& fn) {
  switch (t) {
    case DType::kInt8:
      return fn(TypeTag<int8_t>{});
    case DType::kUInt8:
      return fn(TypeTag<uint8_t>{});
    default:
      return DispatchFloats(t, fn);
  }
}

template <class T>
constexpr T kLowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                           : std::numeric_limits<T>::lowest();

// The largest of each window of an output row; integers, which no model pools in volume.
template <class T>
void MaxRow(const Window& w, int64_t row, const T* x, T* y) {
  const int64_t stride = w.stride[w.rank - 1];
  std::fill(y, y + w.out[w.rank - 1], kLowest<T>);
  ForEachTap(w, row, [&](int64_t n, int64_t column, int64_t from) {
    for (int64_t i = 0; i < n; ++i) y[column + i] = std::max(y[column + i], x[from + i * stride]);
  });
}

// NaN wins.
template <class T>
void MaxPlanes(const Window& w, int64_t planes, const T* x, T* y) {
  const int64_t columns = w.out[w.rank - 1], rows = OutCount(w) / columns;
  if constexpr (std::is_floating_point_v<T>) {
    PlaneRows<T> plane(w, kLowest<T>);
    for (int64_t i = 0; i < planes; ++i, x += InCount(w)) {
      plane.Load(x);
      for (int64_t row = 0; row < rows; ++row, y += columns)
        RowsOf(T()).max_taps(plane.Row(row), y);
    }
  } else {
    for (int64_t i = 0; i < planes; ++i, x += InCount(w))
      for (int64_t row = 0; row < rows; ++row, y += columns) MaxRow(w, row, x, y);
  }
}

// Small square windows, band by band: a part of planes [begin, end).
void MaxSquares(const PlaneBands& planes, const Window& w, int64_t part, int64_t begin, int64_t end,
                const float* x, float* y) {
  const MaxPoolFn kernel = PoolSimd().max[w.kernel[0] - 2][w.stride[0] - 1][w.stride[1] - 1];
  const int64_t columns = w.out[1], wide = planes.columns();
  std::vector<float> padded = planes.Scratch();
  std::vector<float> best(planes.widened() ? planes.most_rows() * wide : 0);
  for (int64_t i = begin; i < end; ++i)
    for (const Band& band : planes.bands(part)) {
      const int64_t rows = band.end - band.begin;
      const PlaneRowsIn from =
          planes.Load(band, x + i * InCount(w), i + 1 < end ? InCount(w) : 0, padded.data());
      float* to = y + i * OutCount(w) + band.begin * columns;
      kernel(from, rows, wide, planes.widened() ? best.data() : to);
      for (int64_t r = 0; r < rows && planes.widened(); ++r)
        std::copy_n(best.data() + r * wide, columns, to + r * columns);
    }
}

bool IsSmallSquare(const Window& w) {
  return IsSquareWindow(w) && (w.kernel[0] == 2 || w.kernel[0] == 3);
}

// The largest and its flat index in the plane, the first among equals; -1 for an empty window.
template <class T>
void ArgMaxRow(const Window& w, int64_t row, const T* x, T* y, int64_t* index) {
  const int64_t stride = w.stride[w.rank - 1], columns = w.out[w.rank - 1];
  std::fill(y, y + columns, kLowest<T>);
  std::fill(index, index + columns, int64_t{-1});
  ForEachTap(w, row, [&](int64_t n, int64_t column, int64_t from) {
    for (int64_t i = 0; i < n; ++i, from += stride) {
      const T v = x[from];
      const bool takes =
          index[column + i] < 0 || v > y[column + i] || (v != v && y[column + i] == y[column + i]);
      y[column + i] = takes ? v : y[column + i];
      index[column + i] = takes ? from : index[column + i];
    }
  });
}

// Calls fn(plane, row, values, indices) for each output row of planes [begin, end).
template <class T, class Fn>
void ArgMaxPlanes(const Window& w, int64_t begin, int64_t end, const T* x, Fn&& fn) {
  const int64_t columns = w.out[w.rank - 1], rows = OutCount(w) / columns;
  std::vector<T> best(columns);
  std::vector<int64_t> index(columns), source;
  std::vector<int32_t> tap(columns);
  [[maybe_unused]] const int64_t stride = w.stride[w.rank - 1];
  if constexpr (std::is_floating_point_v<T>) {
    PlaneRows<T> plane(w, kLowest<T>);
    for (int64_t i = begin; i < end; ++i) {
      plane.Load(x + i * InCount(w));
      for (int64_t row = 0; row < rows; ++row) {
        RowsOf(T()).argmax_taps(plane.Row(row), best.data(), tap.data());
        plane.SourceIndices(row, &source);
        bool lowest = false;  // Padding and elements can be equal only there.
        for (int64_t o = 0; o < columns; ++o) {
          index[o] = source[tap[o]] + o * stride;
          lowest |= best[o] == kLowest<T>;
        }
        if (lowest) ArgMaxRow(w, row, x + i * InCount(w), best.data(), index.data());
        fn(i, row, best.data(), index.data());
      }
    }
  } else {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t row = 0; row < rows; ++row) {
        ArgMaxRow(w, row, x + i * InCount(w), best.data(), index.data());
        fn(i, row, best.data(), index.data());
      }
    }
  }
}

class MaxPool : public Kernel {
 public:
  explicit MaxPool(const Attributes& attributes)
      : pool_(attributes), column_major_(attributes.Int("storage_order", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Window w = pool_.Resolve(x.shape());
    const Shape shape = PoolShape(x.shape(), w);
    Tensor& y = c.Output(0, x.dtype(), shape);
    int64_t* indices =
        c.has_output(1) ? c.Output(1, DType::kInt64, shape).data<int64_t>() : nullptr;
    if (y.size() == 0) return;
    DispatchMax(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t columns = w.out[w.rank - 1];
      const int64_t planes = shape[0] * shape[1], operations = OutCount(w) * TapCount(w);
      if constexpr (sizeof(T) == sizeof(float) && std::is_floating_point_v<T>) {
        if (!indices && IsSmallSquare(w)) {
          const int64_t parts = PlaneBands::Parts(w, shape[0], c.pool().num_threads());
          const PlaneBands squares(w, PoolSimd().lanes, kLowest<float>, parts);
          return ForEachPart(parts, planes, PlaneGrain(operations),
                             [&](int64_t part, int64_t begin, int64_t end) {
                               MaxSquares(squares, w, part, begin, end, x.data<T>(), y.data<T>());
                             });
        }
      }
      const auto work = [&](int64_t begin, int64_t end) {
        const T* from = x.data<T>();
        T* to = y.data<T>();
        if (!indices)
          return MaxPlanes(w, end - begin, from + begin * InCount(w), to + begin * OutCount(w));
        const auto store = [&](int64_t plane, int64_t row, const T* best, const int64_t* index) {
          const int64_t at = plane * OutCount(w) + row * columns;
          std::copy(best, best + columns, to + at);
          for (int64_t i = 0; i < columns; ++i)
            indices[at + i] = plane * InCount(w) + StoredIndex(w, std::max<int64_t>(0, index[i]));
        };
        ArgMaxPlanes(w, begin, end, from, store);
      };
      ForEachPlane(c, planes, operations, work);
    });
  }

 private:
  // With storage_order 1 the first spatial dimension runs fastest.
  int64_t StoredIndex(const Window& w, int64_t index) const {
    if (!column_major_) return index;
    int64_t stored = 0, stride = InCount(w);
    for (int d = w.rank - 1; d >= 0; --d) {
      stride /= w.in[d];
      stored += index % w.in[d] * stride;
      index /= w.in[d];
    }
    return stored;
  }

  PoolAttributes pool_;
  bool column_major_;
};

void CheckGradient(const Tensor& dy, const Shape& expected) {
  TK_REQUIRE(dy.shape() == expected, ErrorKind::kShape, "dy must have the pool's output shape ",
             expected.ToString(), ", got ", dy.shape().ToString());
}

// (x, dy) -> dx: each dy goes to the first maximum of its window.
class MaxPoolGrad : public Kernel {
 public:
  explicit MaxPoolGrad(const Attributes& attributes) : pool_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &dy = c.input(1);
    TK_REQUIRE(x.dtype() == dy.dtype(), ErrorKind::kDType, "dy must have x's dtype ",
               Name(x.dtype()), ", got ", Name(dy.dtype()));
    const Window w = pool_.Resolve(x.shape());
    CheckGradient(dy, PoolShape(x.shape(), w));
    Tensor& dx = c.Output(0, x.dtype(), x.shape());
    if (dx.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t columns = w.out[w.rank - 1];
      const auto scatter = [&](int64_t plane, int64_t row, const T*, const int64_t* index) {
        T* to = dx.data<T>() + plane * InCount(w);
        if (row == 0) std::fill(to, to + InCount(w), T(0));
        const T* d = dy.data<T>() + plane * OutCount(w) + row * columns;
        for (int64_t i = 0; i < columns; ++i)
          if (index[i] >= 0) to[index[i]] += d[i];
      };
      ForEachPlane(
          c, x.dim(0) * x.dim(1), OutCount(w) * TapCount(w),
          [&](int64_t begin, int64_t end) { ArgMaxPlanes(w, begin, end, x.data<T>(), scatter); });
    });
  }

 private:
  PoolAttributes pool_;
};

// How many elements each average is over: a product of one factor a dimension.
class Divisors {
 public:
  Divisors(const Window& w, bool include_pad) : w_(w), factors_(w.rank) {
    for (int d = 0; d < w.rank; ++d) {
      const int64_t low = include_pad ? -w.pad_begin[d] : 0;
      const int64_t high = include_pad ? w.in[d] + w.pad_end[d] : w.in[d];
      for (int64_t o = 0; o < w.out[d]; ++o) {
        const int64_t first = o * w.stride[d] - w.pad_begin[d];
        int64_t count = 0;
        for (int64_t t = 0; t < w.kernel[d]; ++t) {
          const int64_t at = first + t * w.dilation[d];
          count += at >= low && at < high;
        }
        factors_[d].push_back(count);
      }
    }
  }

  // out[i] = sums[i] / divisor of column i of `row`; an empty window's sum is 0 and stays so.
  template <class T>
  void Divide(int64_t row, const T* sums, T* out) const {
    T outer = T(1);
    for (int d = w_.rank - 2; d >= 0; --d) {
      outer *= static_cast<T>(factors_[d][d > 0 ? row % w_.out[d] : row]);
      if (d > 0) row /= w_.out[d];
    }
    const std::vector<int64_t>& inner = factors_[w_.rank - 1];
    for (size_t i = 0; i < inner.size(); ++i)
      out[i] = sums[i] / std::max(T(1), outer * static_cast<T>(static_cast<int32_t>(inner[i])));
  }

 private:
  const Window& w_;
  std::vector<std::vector<int64_t>> factors_;
};

class AveragePool : public Kernel {
 public:
  explicit AveragePool(const Attributes& attributes)
      : pool_(attributes), include_pad_(attributes.Int("count_include_pad", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Window w = pool_.Resolve(x.shape());
    Tensor& y = c.Output(0, x.dtype(), PoolShape(x.shape(), w));
    if (y.size() == 0) return;
    const Divisors divisors(w, include_pad_);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t columns = w.out[w.rank - 1], rows = OutCount(w) / columns;
      const auto work = [&](int64_t begin, int64_t end) {
        PlaneRows<T> plane(w, T(0));
        T* to = y.data<T>() + begin * OutCount(w);
        for (int64_t i = begin; i < end; ++i) {
          plane.Load(x.data<T>() + i * InCount(w));
          for (int64_t row = 0; row < rows; ++row, to += columns) {
            RowsOf(T()).sum_taps(plane.Row(row), to);
            divisors.Divide(row, to, to);
          }
        }
      };
      ForEachPlane(c, x.dim(0) * x.dim(1), OutCount(w) * TapCount(w), work);
    });
  }

 private:
  PoolAttributes pool_;
  bool include_pad_;
};

// (dy, x_shape) -> dx.
class AveragePoolGrad : public Kernel {
 public:
  explicit AveragePoolGrad(const Attributes& attributes)
      : pool_(attributes), include_pad_(attributes.Int("count_include_pad", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor &dy = c.input(0), &dims = c.input(1);
    TK_REQUIRE(dims.dtype() == DType::kInt64 && dims.rank() == 1, ErrorKind::kShape,
               "x_shape must be a vector of int64, got ", Name(dims.dtype()),
               dims.shape().ToString());
    const Shape x(dims.data<int64_t>(), static_cast<size_t>(dims.size()));
    CheckedBytes(dy.dtype(), x);
    const Window w = pool_.Resolve(x);
    CheckGradient(dy, PoolShape(x, w));
    Tensor& dx = c.Output(0, dy.dtype(), x);
    if (dx.size() == 0) return;
    const Divisors divisors(w, include_pad_);
    DispatchFloats(dy.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t columns = w.out[w.rank - 1], rows = OutCount(w) / columns;
      ForEachPlane(c, x[0] * x[1], OutCount(w) * TapCount(w), [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane) {
          std::vector<T> share(columns);
          T* to = dx.data<T>() + plane * InCount(w);
          std::fill(to, to + InCount(w), T(0));
          for (int64_t row = 0; row < rows; ++row) {
            divisors.Divide(row, dy.data<T>() + plane * OutCount(w) + row * columns, share.data());
            ForEachTap(w, row, [&](int64_t n, int64_t column, int64_t at) {
              RowsOf(T()).axpy_back(n, T(1), share.data() + column, to + at, w.stride[w.rank - 1]);
            });
          }
        }
      });
    });
  }

 private:
  PoolAttributes pool_;
  bool include_pad_;
};

static const bool kMaxPool = Register<MaxPool>("MaxPool").Types(kMaxTypes).Widen();
static const bool kAveragePool = Register<AveragePool>("AveragePool").Types(kFloats).Widen();
static const bool kMaxPoolGrad =
    Register<MaxPoolGrad>("MaxPoolGrad").Types(kFloats).Widen().Domain("toolkit.grad");
static const bool kAveragePoolGrad =
    Register<AveragePoolGrad>("AveragePoolGrad").Types(kFloats).Widen().Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
