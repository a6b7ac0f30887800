#include "simd/depthwise.h"

#include "simd/slide.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

// `Rows` rows of y at once: a vector of x serves all of them that see it.
template <int K, int StrideY, int StrideX>
struct Taps {
  static constexpr int kKernel = K;
  DepthwiseFilter f;

  // A column of taps stays in registers.
  template <int Rows, int W, int Vectors, bool Whole>
  TK_INLINE void Add(const SlideTile& t, int column, VW<W> (&acc)[Rows][Vectors]) const {
    VW<W> w[K];
    TK_UNROLL
    for (int k = 0; k < K; ++k) w[k] = f.w[k * K + column] - VW<W>{};
    TK_UNROLL
    for (int r = 0; r < (Rows - 1) * StrideY + K; ++r) {
      if (!t.template Has<Whole>(r)) continue;
      const float* x = t.x + r * t.pitch + column;
      VW<W> xv[Vectors];
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v)
        xv[v] = LoadStep<W, StrideX>(x + t.template Column<W, Vectors>(v) * StrideX);
      TK_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const int k = r - i * StrideY;
        if (k < 0 || k >= K) continue;
        TK_UNROLL
        for (int v = 0; v < Vectors; ++v) acc[i][v] += w[k] * xv[v];
      }
    }
  }

  template <int Rows, int W, int Vectors, bool Whole>
  TK_INLINE void Tile(const SlideTile& t, float* y) const {
    VW<W> acc[Rows][Vectors];
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v) acc[i][v] = f.bias - VW<W>{};
    }
    if constexpr (W == kWidth && Rows < 7 && K < 7) {
      TK_UNROLL
      for (int column = 0; column < K; ++column) Add<Rows, W, Vectors, Whole>(t, column, acc);
    } else {
#pragma GCC unroll 1
      for (int column = 0; column < K; ++column) Add<Rows, W, Vectors, Whole>(t, column, acc);
    }
    const VW<W> low = f.low - VW<W>{}, high = f.high - VW<W>{};
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        VW<W> sum = acc[i][v] < low ? low : acc[i][v];
        sum = sum > high ? high : sum;
        memcpy(y + i * t.columns + t.template Column<W, Vectors>(v), &sum, sizeof(sum));
      }
    }
  }
};

template <int K, int StrideY, int StrideX>
void Depthwise(const PlaneRowsIn& x, const DepthwiseFilter& f, int64_t rows, int64_t columns,
               float* y) {
  SlidePlane<StrideY, StrideX>(Taps<K, StrideY, StrideX>{f}, x, rows, columns, y);
}

#define TK_STRIDES(K)                           \
  {                                             \
      {Depthwise<K, 1, 1>, Depthwise<K, 1, 2>}, \
      {Depthwise<K, 2, 1>, Depthwise<K, 2, 2>}, \
  }

}  // namespace

extern const DepthwiseTable depthwise_table = {kWidth,
                                               {TK_STRIDES(3), TK_STRIDES(5), TK_STRIDES(7)}};

}  // namespace toolkit::TOOLKIT_ISA_NS
