#include "simd/depthwise.h"

#include "simd/slide.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

// `Rows` rows of y at once: a vector of x serves all of them that see it. `second`: the distance to
// a second vector of columns, where there is one.
template <int K, int Stride, int Rows, int W, int Vectors>
TK_INLINE void SumTile(const float* x, int64_t pitch, const float* w, float init, int64_t columns,
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

template <int K, int Stride>
struct Taps {
  const float* w;
  float init;
  template <int Rows, int W, int Vectors>
  TK_INLINE void Tile(const float* x, int64_t pitch, int64_t columns, int64_t second,
                      float* y) const {
    SumTile<K, Stride, Rows, W, Vectors>(x, pitch, w, init, columns, second, y);
  }
};

template <int K, int Stride>
void Depthwise(const float* x, int64_t pitch, const float* w, float init, int64_t rows,
               int64_t columns, float* y) {
  SlidePlane<Stride>(Taps<K, Stride>{w, init}, x, pitch, rows, columns, y);
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
