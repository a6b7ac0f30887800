#include "simd/transpose.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

struct Pair64 {
  uint64_t low, high;
};

// a0 b0 a1 b1 ... : the lower (Half = 0) or upper (1) half of two interleaved vectors.
template <int Lanes, int Half, class V>
TK_INLINE V Zip(V a, V b) {
  constexpr int h = Half * Lanes / 2, n = Lanes + h;
  if constexpr (Lanes == 2)
    return __builtin_shufflevector(a, b, h, n);
  else if constexpr (Lanes == 4)
    return __builtin_shufflevector(a, b, h, n, h + 1, n + 1);
  else if constexpr (Lanes == 8)
    return __builtin_shufflevector(a, b, h, n, h + 1, n + 1, h + 2, n + 2, h + 3, n + 3);
  else
    return __builtin_shufflevector(a, b, h, n, h + 1, n + 1, h + 2, n + 2, h + 3, n + 3, h + 4,
                                   n + 4, h + 5, n + 5, h + 6, n + 6, h + 7, n + 7);
}

// One Lanes x Lanes block: log2(Lanes) rounds of perfect shuffles of rows i and i + Lanes / 2.
template <class T, int Lanes>
TK_INLINE void Block(char* dst, int64_t dst_stride, const char* src, int64_t src_stride) {
  using V = typename VecOf<T, Lanes>::type;
  V v[Lanes], w[Lanes];
#pragma GCC unroll 16
  for (int i = 0; i < Lanes; ++i) memcpy(&v[i], src + i * src_stride, sizeof(V));
#pragma GCC unroll 4
  for (int round = 1; round < Lanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < Lanes / 2; ++i) {
      w[2 * i] = Zip<Lanes, 0>(v[i], v[i + Lanes / 2]);
      w[2 * i + 1] = Zip<Lanes, 1>(v[i], v[i + Lanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < Lanes; ++i) v[i] = w[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < Lanes; ++i) memcpy(dst + i * dst_stride, &v[i], sizeof(V));
}

template <class T>
TK_INLINE void Element(char* dst, int64_t dst_stride, const char* src, int64_t src_stride,
                       int64_t r, int64_t c) {
  memcpy(dst + c * dst_stride + r * static_cast<int64_t>(sizeof(T)),
         src + r * src_stride + c * static_cast<int64_t>(sizeof(T)), sizeof(T));
}

// Blocks of Lanes x Lanes (1: none), the right and lower rims element by element.
template <class T, int Lanes>
void Tile(char* dst, int64_t dst_stride, const char* src, int64_t src_stride, int64_t rows,
          int64_t cols) {
  constexpr int64_t item = sizeof(T);
  int64_t r = 0;
  if constexpr (Lanes > 1) {
    for (; r + Lanes <= rows; r += Lanes) {
      int64_t c = 0;
      for (; c + Lanes <= cols; c += Lanes)
        Block<T, Lanes>(dst + c * dst_stride + r * item, dst_stride,
                        src + r * src_stride + c * item, src_stride);
      for (; c < cols; ++c)
        for (int64_t i = r; i < r + Lanes; ++i) Element<T>(dst, dst_stride, src, src_stride, i, c);
    }
  }
  if (rows - r < cols) {
    for (; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) Element<T>(dst, dst_stride, src, src_stride, r, c);
  } else {
    for (int64_t c = 0; c < cols; ++c)
      for (int64_t i = r; i < rows; ++i) Element<T>(dst, dst_stride, src, src_stride, i, c);
  }
}

}  // namespace

extern const TransposeTable transpose_table = {
    {Tile<uint8_t, 16>, Tile<uint16_t, 8>, Tile<uint32_t, kLanes<uint32_t>>,
     Tile<uint64_t, kLanes<uint64_t>>, Tile<Pair64, 1>},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
