// Col2Im, its transpose Im2Col, and MaxUnpool.
//
// Columns are (N, C * taps, positions). Col2Im adds each column row to the image rows under its
// tap, in parallel over planes; Im2Col is Conv's gathering of columns, in parallel over planes.
#include <algorithm>
#include <complex>
#include <cstring>
#include <type_traits>

#include "kernels/movement.h"
#include "kernels/plane.h"

namespace toolkit {
namespace {

// The window of image and block over attributes strides, pads, dilations.
struct FoldAttributes {
  explicit FoldAttributes(const Attributes& attributes) : window(attributes) {
    TK_REQUIRE(window.auto_pad == AutoPad::kNotSet, ErrorKind::kInvalidArgument,
               "auto_pad is not an attribute of this operator");
  }

  // `image`: (N, C, sizes...).
  Window Resolve(const Shape& image, const Tensor& block_shape) const {
    WindowAttributes of_block = window;
    of_block.kernel_shape = ReadInts(block_shape, "block_shape");
    return of_block.Resolve(image, of_block.kernel_shape, false);
  }

  WindowAttributes window;
};

template <class Fn>
void DispatchSummable(DType t, Fn&& fn) {
  if (t == DType::kComplex64) return fn(TypeTag<std::complex<float>>{});
  if (t == DType::kComplex128) return fn(TypeTag<std::complex<double>>{});
  DispatchNumbers(t, fn);
}

// y[i * stride] += x[i].
template <class T>
void AddRow(int64_t n, const T* x, T* y, int64_t stride) {
  if constexpr (std::is_floating_point_v<T>)
    RowsOf(T()).axpy_back(n, T(1), x, y, stride);
  else
    for (int64_t i = 0; i < n; ++i) y[i * stride] = static_cast<T>(y[i * stride] + x[i]);
}

// Calls fn(column row, n, first position, image offset) for every tap over every row of positions.
template <class Fn>
void ForEachColumnRow(const Window& w, Fn&& fn) {
  const int last = w.rank - 1;
  const int64_t rows = OutCount(w) / std::max<int64_t>(1, w.out[last]), taps = w.kernel[last];
  for (int64_t t = 0; t < taps; ++t) {
    const Span span = InsideSpan(w, last, t);
    if (span.begin == span.end) continue;
    const int64_t from = span.begin * w.stride[last] + t * w.dilation[last] - w.pad_begin[last];
    ForEachRow(w, 0, rows, [&](int64_t row, int64_t in_row, int64_t tap_row) {
      fn(tap_row * taps + t, span.end - span.begin, row * w.out[last] + span.begin,
         in_row * w.in[last] + from);
    });
  }
}

class Col2Im : public Kernel {
 public:
  explicit Col2Im(const Attributes& attributes) : fold_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() == 3, ErrorKind::kShape, "input must be (N, C * block, L), got ",
               x.shape().ToString());
    const std::vector<int64_t> image = ReadInts(c.input(1), "image_shape");
    const std::vector<int64_t> block = ReadInts(c.input(2), "block_shape");
    TK_REQUIRE(image.size() < kMaxSpatialRank, ErrorKind::kShape,
               "image_shape must have fewer than ", kMaxSpatialRank, " values, got ", image.size());
    Shape shape = {x.dim(0), 0};
    for (int64_t n : image) {
      TK_REQUIRE(n >= 0, ErrorKind::kInvalidArgument, "image_shape must not be negative, got ", n);
      shape.push_back(n);
    }
    const Window w = fold_.Resolve(shape, c.input(2));
    const int64_t taps = TapCount(w);
    TK_REQUIRE(x.dim(1) % taps == 0, ErrorKind::kShape, "the block's ", taps,
               " elements must divide dimension 1 of the input, got ", x.shape().ToString());
    shape[1] = x.dim(1) / taps;
    CheckedBytes(x.dtype(), shape);
    TK_REQUIRE(x.dim(2) == OutCount(w), ErrorKind::kShape, "the image has ", OutCount(w),
               " blocks, which dimension 2 of the input must be, got ", x.shape().ToString());
    Tensor& y = c.Output(0, x.dtype(), shape);
    if (y.size() == 0) return;
    const int64_t plane = InCount(w), positions = OutCount(w), planes = shape[0] * shape[1];
    const int64_t stride = w.stride[w.rank - 1];
    DispatchSummable(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(
          planes, 1 + 16384 / (plane + taps * positions), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
              const T* from = x.data<T>() + i * taps * positions;
              T* to = y.data<T>() + i * plane;
              std::fill(to, to + plane, T(0));
              ForEachColumnRow(w, [&](int64_t k, int64_t n, int64_t position, int64_t at) {
                AddRow(n, from + k * positions + position, to + at, stride);
              });
            }
          });
    });
  }

 private:
  FoldAttributes fold_;
};

// (image, block_shape) -> columns; what lies in the padding is zero.
class Im2Col : public Kernel {
 public:
  explicit Im2Col(const Attributes& attributes) : fold_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Window w = fold_.Resolve(x.shape(), c.input(1));
    const int64_t taps = TapCount(w), positions = OutCount(w), plane = InCount(w);
    int64_t rows;
    TK_REQUIRE(!__builtin_mul_overflow(x.dim(1), taps, &rows), ErrorKind::kShape,
               "the block is too large for X ", x.shape().ToString());
    Tensor& y = c.Output(0, x.dtype(), {x.dim(0), rows, positions});
    if (y.size() == 0) return;
    const int64_t stride = w.stride[w.rank - 1];
    DispatchBySize(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(
          x.dim(0) * x.dim(1), 1 + 16384 / (taps * positions), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
              const T* from = x.data<T>() + i * plane;
              T* to = y.data<T>() + i * taps * positions;
              std::memset(static_cast<void*>(to), 0,
                          static_cast<size_t>(taps * positions) * sizeof(T));
              ForEachColumnRow(w, [&](int64_t k, int64_t n, int64_t position, int64_t at) {
                T* row = to + k * positions + position;
                if (stride == 1)
                  std::memcpy(row, from + at, static_cast<size_t>(n) * sizeof(T));
                else
                  for (int64_t j = 0; j < n; ++j) row[j] = from[at + j * stride];
              });
            }
          });
    });
  }

 private:
  FoldAttributes fold_;
};

// Indices count through the output that kernel_shape, strides and pads give; with output_shape that
// output is the beginning of a larger one.
class MaxUnpool : public Kernel {
 public:
  explicit MaxUnpool(const Attributes& attributes) : window_(attributes) {
    TK_REQUIRE(!window_.window.kernel_shape.empty(), ErrorKind::kInvalidArgument,
               "attribute kernel_shape is required, got none");
  }

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &indices = c.input(1);
    const Window w = window_.Resolve(x.shape(), window_.window.kernel_shape);
    TK_REQUIRE(indices.shape() == x.shape(), ErrorKind::kShape, "I must have X's shape ",
               x.shape().ToString(), ", got ", indices.shape().ToString());
    Shape inner = {x.dim(0), x.dim(1)};
    for (int d = 0; d < w.rank; ++d) inner.push_back(w.in[d]);
    Shape shape = inner;
    if (const Tensor* wanted = c.optional_input(2)) {
      const std::vector<int64_t> dims = ReadInts(*wanted, "output_shape");
      shape = Shape(dims.data(), dims.size());
      bool fits = shape.rank() == inner.rank();
      for (int i = 0; fits && i < shape.rank(); ++i) fits = shape[i] >= inner[i];
      TK_REQUIRE(fits, ErrorKind::kShape, "output_shape must hold the unpooled shape ",
                 inner.ToString(), ", got ", shape.ToString());
    }
    CheckedBytes(x.dtype(), inner);
    Tensor& y = c.Output(0, x.dtype(), shape);
    FillZero(c.pool(), y);
    if (y.size() == 0 && x.size() == 0) return;
    const int64_t* at = NormalizedIndices(c, indices, inner.Count());
    const Shape strides = StridesOf(shape);
    const bool whole = shape == inner;
    DispatchBySize(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* from = x.data<T>();
      T* to = y.data<T>();
      for (int64_t i = 0; i < x.size(); ++i)
        to[whole ? at[i] : Place(at[i], inner, strides)] = from[i];
    });
  }

 private:
  static const int64_t* NormalizedIndices(KernelContext& c, const Tensor& indices, int64_t bound) {
    TK_REQUIRE(indices.dtype() == DType::kInt64, ErrorKind::kDType, "I must be int64, got ",
               Name(indices.dtype()));
    const int64_t* at = indices.data<int64_t>();
    c.pool().ParallelFor(indices.size(), 65536, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        TK_REQUIRE(at[i] >= 0 && at[i] < bound, ErrorKind::kIndex, "indices must lie in [0, ",
                   bound, "), got ", at[i]);
    });
    return at;
  }

  static int64_t Place(int64_t at, const Shape& inner, const Shape& strides) {
    int64_t place = 0;
    for (int d = inner.rank() - 1; d >= 0; --d) {
      place += at % inner[d] * strides[d];
      at /= inner[d];
    }
    return place;
  }

  TransposeAttributes window_;
};

static const bool kCol2Im = Register<Col2Im>("Col2Im").Types(kNumbers | kComplexes).Widen();
static const bool kIm2Col =
    Register<Im2Col>("Im2Col").Types(kNumbers | kBools).Domain("toolkit.nn");
static const bool kMaxUnpool = Register<MaxUnpool>("MaxUnpool").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
