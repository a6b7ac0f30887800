// A square window that slides over a plane, by tiles of rows and one or two vectors of columns. For
// simd/*.cc only.
#pragma once

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

// Columns from left to right, the last vectors ending at the last column. `tile.Tile<Rows, W,
// Vectors>( x, pitch, columns, second, y)` makes a tile; `second`: how far its second vector of
// columns is.
template <int Stride, int Rows, int W, class F>
TK_INLINE void SlideRows(const F& tile, const float* x, int64_t pitch, int64_t columns, float* y) {
  int64_t j = 0;
  for (; j + W < columns; j += 2 * W) {
    const int64_t second = j + 2 * W <= columns ? W : columns - W - j;
    tile.template Tile<Rows, W, 2>(x + j * Stride, pitch, columns, second, y + j);
  }
  if (j < columns) {
    j = columns - W;
    tile.template Tile<Rows, W, 1>(x + j * Stride, pitch, columns, 0, y + j);
  }
}

// `Rows` at a time; the last ones may repeat some, with the same result.
template <int Stride, int Rows, int W, class F>
void SlideBy(const F& tile, const float* x, int64_t pitch, int64_t rows, int64_t columns,
             float* y) {
  for (int64_t i = 0; i < rows; i += Rows) {
    const int64_t at = i + Rows <= rows ? i : rows - Rows;
    SlideRows<Stride, Rows, W>(tile, x + at * Stride * pitch, pitch, columns, y + at * columns);
  }
}

// Sides of images are often multiples of seven. Tiles of seven rows need the registers for it.
constexpr bool kTallTiles = kVectorRegisters >= 32;

template <int Stride, int W, class F>
void SlideAny(const F& tile, const float* x, int64_t pitch, int64_t rows, int64_t columns,
              float* y) {
  if constexpr (kTallTiles)
    if (rows % 7 == 0) return SlideBy<Stride, 7, W>(tile, x, pitch, rows, columns, y);
  if (rows >= 4)
    SlideBy<Stride, 4, W>(tile, x, pitch, rows, columns, y);
  else if (rows >= 2)
    SlideBy<Stride, 2, W>(tile, x, pitch, rows, columns, y);
  else
    SlideBy<Stride, 1, W>(tile, x, pitch, rows, columns, y);
}

template <int Stride, class F>
void SlidePlane(const F& tile, const float* x, int64_t pitch, int64_t rows, int64_t columns,
                float* y) {
  if (columns >= kWidth)
    SlideAny<Stride, kWidth>(tile, x, pitch, rows, columns, y);
  else if (kWidth > 8 && columns >= 8)
    SlideAny<Stride, 8>(tile, x, pitch, rows, columns, y);
  else if (kWidth > 4 && columns >= 4)
    SlideAny<Stride, 4>(tile, x, pitch, rows, columns, y);
  else
    SlideAny<Stride, 1>(tile, x, pitch, rows, columns, y);
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
