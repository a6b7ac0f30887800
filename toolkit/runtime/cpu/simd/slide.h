// A square window that slides over a plane, by tiles of rows and one to three vectors of columns.
// For simd/*.cc only.
#pragma once

#include "simd/plane_rows.h"
#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")

constexpr int kWidth = kLanes<float>;

template <int W>
using VW = typename VecOf<float, W>::type;

// p[0], p[Stride], ...: nothing beyond the last is read.
template <int W, int Stride>
TK_INLINE VW<W> LoadStep(const float* p) {
  VW<W> a;
  memcpy(&a, p, sizeof(a));
  if constexpr (Stride == 1 || W == 1) return a;
  VW<W> b;
  memcpy(&b, p + W - 1, sizeof(b));
  if constexpr (W == 16)
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  else if constexpr (W == 8)
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15);
  else if constexpr (W == 4)
    return __builtin_shufflevector(a, b, 0, 2, 5, 7);
  return a;
}

// A tile's rows of x, of which [begin, end) are there, and its vectors of columns: side by side,
// but for the last one.
struct SlideTile {
  const float* x;  // Row 0, column 0; rows that are not there may lie outside the plane.
  int64_t pitch, begin, end;
  int64_t columns;  // Between two rows of y.
  int64_t last;     // The first column of the last vector.

  template <int W, int Vectors>
  TK_INLINE int64_t Column(int v) const {
    return v + 1 < Vectors ? v * W : last;
  }
  // Whether a row is there; of a `Whole` tile all are.
  template <bool Whole>
  TK_INLINE bool Has(int64_t row) const {
    return Whole || (row >= begin && row < end);
  }
};

// Columns from left to right, the last vectors ending at the last column. `tile.Tile<Rows, W,
// Vectors, Whole>(x, y)` makes a tile.
template <int StrideX, int Rows, int W, int Most, bool Whole, class F>
TK_INLINE void SlideRows(const F& tile, SlideTile t, float* y) {
  const float* x = t.x;
  for (int64_t j = 0; j < t.columns;) {
    const int64_t left = t.columns - j, vectors = (left + W - 1) / W;
    if (left < W) j = t.columns - W;
    t.x = x + j * StrideX;
    const auto last = [&](int64_t n) { return n * W <= left ? (n - 1) * W : left - W; };
    if (vectors == 1 || Most == 1) {
      t.last = 0;
      tile.template Tile<Rows, W, 1, Whole>(t, y + j);
      j += W;
    } else if (vectors == 2 || vectors == 4 || Most == 2) {
      if constexpr (Most >= 2) {
        t.last = last(2);
        tile.template Tile<Rows, W, 2, Whole>(t, y + j);
        j += 2 * W;
      }
    } else if constexpr (Most >= 3) {
      t.last = last(3);
      tile.template Tile<Rows, W, 3, Whole>(t, y + j);
      j += 3 * W;
    }
  }
}

constexpr bool kManyRegisters = kVectorRegisters >= 32;

// `Rows` at a time; the last ones may repeat some, with the same result.
template <int StrideY, int StrideX, int Rows, int W, class F>
void SlideBy(const F& tile, const PlaneRowsIn& x, int64_t rows, int64_t columns, float* y) {
  constexpr int kMost = W < kWidth ? 1 : kManyRegisters && Rows < 7 ? 3 : 2;
  for (int64_t i = 0; i < rows; i += Rows) {
    const int64_t at = i + Rows <= rows ? i : rows - Rows;
    const int64_t first = at * StrideY - x.above;  // Among the rows that are there.
    const SlideTile t = {x.at + first * x.pitch, x.pitch, -first, x.there - first, columns, 0};
    // The compiler schedules the small tiles better in pieces.
    if (Rows >= 7 && first >= 0 && t.end >= (Rows - 1) * StrideY + F::kKernel)
      SlideRows<StrideX, Rows, W, kMost, Rows >= 7>(tile, t, y + at * columns);
    else
      SlideRows<StrideX, Rows, W, kMost, false>(tile, t, y + at * columns);
  }
}

// Tall tiles read a row of x the fewest times; sides of images are often multiples of seven.
template <int StrideY, int StrideX, int W, class F>
void SlideAny(const F& tile, const PlaneRowsIn& x, int64_t rows, int64_t columns, float* y) {
  const auto by = [&](auto slide) { slide(tile, x, rows, columns, y); };
  if constexpr (kManyRegisters)
    if (rows % 7 == 0) return by(SlideBy<StrideY, StrideX, 7, W, F>);
  if (rows >= 4 && rows != 5 && rows != 6)
    by(SlideBy<StrideY, StrideX, 4, W, F>);
  else if (rows >= 3)
    by(SlideBy<StrideY, StrideX, 3, W, F>);
  else if (rows == 2)
    by(SlideBy<StrideY, StrideX, 2, W, F>);
  else
    by(SlideBy<StrideY, StrideX, 1, W, F>);
}

// `columns` is a whole vector of 4 or 8, or at least as many as a whole vector has.
template <int StrideY, int StrideX, class F>
void SlidePlane(const F& tile, const PlaneRowsIn& x, int64_t rows, int64_t columns, float* y) {
  if (columns >= kWidth)
    SlideAny<StrideY, StrideX, kWidth>(tile, x, rows, columns, y);
  else if (kWidth > 8 && columns >= 8)
    SlideAny<StrideY, StrideX, 8>(tile, x, rows, columns, y);
  else
    SlideAny<StrideY, StrideX, 4>(tile, x, rows, columns, y);
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
