#include "simd/pool.h"

#include "simd/slide.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

constexpr float kLowest = -__builtin_inff();

template <class V>
TK_INLINE V Larger(V best, V x) {
  best = x > best ? x : best;
  return x == x ? best : x;
}

template <int K, int StrideY, int StrideX>
struct Largest {
  static constexpr int kKernel = K;

  template <int Rows, int W, int Vectors, bool Whole>
  TK_INLINE void Tile(const SlideTile& t, float* y) const {
    VW<W> best[Rows][Vectors];
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v) best[i][v] = kLowest - VW<W>{};
    }
    const float* x = t.x;
    TK_UNROLL
    for (int r = 0; r < (Rows - 1) * StrideY + K; ++r, x += t.pitch) {
      if (!t.template Has<Whole>(r)) continue;
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        const float* from = x + t.template Column<W, Vectors>(v) * StrideX;
        VW<W> across = LoadStep<W, StrideX>(from);  // Of one row, for all the windows over it.
        TK_UNROLL
        for (int k = 1; k < K; ++k) across = Larger(across, LoadStep<W, StrideX>(from + k));
        TK_UNROLL
        for (int i = 0; i < Rows; ++i) {
          const int k = r - i * StrideY;
          if (k >= 0 && k < K) best[i][v] = Larger(best[i][v], across);
        }
      }
    }
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v)
        memcpy(y + i * t.columns + t.template Column<W, Vectors>(v), &best[i][v],
               sizeof(best[i][v]));
    }
  }
};

template <int K, int StrideY, int StrideX>
void MaxPool(const PlaneRowsIn& x, int64_t rows, int64_t columns, float* y) {
  SlidePlane<StrideY, StrideX>(Largest<K, StrideY, StrideX>{}, x, rows, columns, y);
}

#define TK_STRIDES(K)                       \
  {                                         \
      {MaxPool<K, 1, 1>, MaxPool<K, 1, 2>}, \
      {MaxPool<K, 2, 1>, MaxPool<K, 2, 2>}, \
  }

}  // namespace

extern const PoolTable pool_table = {kWidth, {TK_STRIDES(2), TK_STRIDES(3)}};

}  // namespace toolkit::TOOLKIT_ISA_NS
