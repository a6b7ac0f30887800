#include "simd/pool.h"

#include "simd/slide.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class V>
TK_INLINE V Larger(V best, V x) {
  best = x > best ? x : best;
  return x == x ? best : x;
}

template <int K, int Stride>
struct Largest {
  template <int Rows, int W, int Vectors>
  TK_INLINE void Tile(const float* x, int64_t pitch, int64_t columns, int64_t second,
                      float* y) const {
    VW<W> best[Rows][Vectors];
    TK_UNROLL
    for (int r = 0; r < (Rows - 1) * Stride + K; ++r) {
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        const float* from = x + r * pitch + v * second * Stride;
        VW<W> across = LoadStep<W, Stride>(from);  // Of one row, for all the windows over it.
        TK_UNROLL
        for (int t = 1; t < K; ++t) across = Larger(across, LoadStep<W, Stride>(from + t));
        TK_UNROLL
        for (int i = 0; i < Rows; ++i) {
          const int k = r - i * Stride;
          if (k == 0) best[i][v] = across;
          if (k > 0 && k < K) best[i][v] = Larger(best[i][v], across);
        }
      }
    }
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v)
        memcpy(y + i * columns + v * second, &best[i][v], sizeof(best[i][v]));
    }
  }
};

template <int K, int Stride>
void MaxPool(const float* x, int64_t pitch, int64_t rows, int64_t columns, float* y) {
  SlidePlane<Stride>(Largest<K, Stride>{}, x, pitch, rows, columns, y);
}

}  // namespace

extern const PoolTable pool_table = {
    kWidth,
    {{MaxPool<2, 1>, MaxPool<2, 2>}, {MaxPool<3, 1>, MaxPool<3, 2>}},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
