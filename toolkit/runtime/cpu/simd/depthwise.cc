#include "simd/depthwise.h"

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

// `Rows` rows of y at once: a vector of x serves all of them that see it. `second`: the distance to
// a second vector of columns, where there is one.
template <int K, int Stride, int Rows, int W, int Vectors>
TK_INLINE void Tile(const float* x, int64_t pitch, const float* w, float init, int64_t columns,
                    int64_t second, float* y) {
  VW<W> acc[Rows][Vectors];
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    TK_UNROLL
    for (int v = 0; v < Vectors; ++v) acc[i][v] = init - VW<W>{};
  }
  TK_UNROLL
  for (int t = 0; t < K; ++t) {
    VW<W> wv[K];  // A column of taps stays in registers.
    TK_UNROLL
    for (int k = 0; k < K; ++k) wv[k] = w[k * K + t] - VW<W>{};
    TK_UNROLL
    for (int r = 0; r < (Rows - 1) * Stride + K; ++r) {
      VW<W> xv[Vectors];
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v)
        xv[v] = LoadStep<W, Stride>(x + r * pitch + t + v * second * Stride);
      TK_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const int k = r - i * Stride;
        if (k < 0 || k >= K) continue;
        TK_UNROLL
        for (int v = 0; v < Vectors; ++v) acc[i][v] += wv[k] * xv[v];
      }
    }
  }
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    TK_UNROLL
    for (int v = 0; v < Vectors; ++v)
      memcpy(y + i * columns + v * second, &acc[i][v], sizeof(acc[i][v]));
  }
}

// Columns from left to right, the last vectors ending at the last column.
template <int K, int Stride, int Rows, int W>
TK_INLINE void RowsOfTiles(const float* x, int64_t pitch, const float* w, float init,
                           int64_t columns, float* y) {
  int64_t j = 0;
  for (; j + W < columns; j += 2 * W) {
    const int64_t second = j + 2 * W <= columns ? W : columns - W - j;
    Tile<K, Stride, Rows, W, 2>(x + j * Stride, pitch, w, init, columns, second, y + j);
  }
  if (j < columns) {
    j = columns - W;
    Tile<K, Stride, Rows, W, 1>(x + j * Stride, pitch, w, init, columns, 0, y + j);
  }
}

// `Rows` at a time; the last ones may repeat some, with the same result.
template <int K, int Stride, int Rows, int W>
void Plane(const float* x, int64_t pitch, const float* w, float init, int64_t rows, int64_t columns,
           float* y) {
  for (int64_t i = 0; i < rows; i += Rows) {
    const int64_t at = i + Rows <= rows ? i : rows - Rows;
    RowsOfTiles<K, Stride, Rows, W>(x + at * Stride * pitch, pitch, w, init, columns,
                                    y + at * columns);
  }
}

// Sides of images are often multiples of seven.
template <int K, int Stride, int W>
void AnyPlane(const float* x, int64_t pitch, const float* w, float init, int64_t rows,
              int64_t columns, float* y) {
  if (rows % 7 == 0 && kVectorRegisters >= 32)
    Plane<K, Stride, 7, W>(x, pitch, w, init, rows, columns, y);
  else if (rows >= 4)
    Plane<K, Stride, 4, W>(x, pitch, w, init, rows, columns, y);
  else
    Plane<K, Stride, 1, W>(x, pitch, w, init, rows, columns, y);
}

template <int K, int Stride>
void Depthwise(const float* x, int64_t pitch, const float* w, float init, int64_t rows,
               int64_t columns, float* y) {
  if (columns >= kWidth)
    AnyPlane<K, Stride, kWidth>(x, pitch, w, init, rows, columns, y);
  else if (kWidth > 8 && columns >= 8)
    AnyPlane<K, Stride, 8>(x, pitch, w, init, rows, columns, y);
  else if (kWidth > 4 && columns >= 4)
    AnyPlane<K, Stride, 4>(x, pitch, w, init, rows, columns, y);
  else
    AnyPlane<K, Stride, 1>(x, pitch, w, init, rows, columns, y);
}

}  // namespace

extern const DepthwiseTable depthwise_table = {
    kWidth,
    {
        {Depthwise<3, 1>, Depthwise<3, 2>},
        {Depthwise<5, 1>, Depthwise<5, 2>},
        {Depthwise<7, 1>, Depthwise<7, 2>},
    },
};

}  // namespace toolkit::TOOLKIT_ISA_NS
