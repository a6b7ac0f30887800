#include "simd/channels.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")

constexpr int kWidth = kLanes<float>;
using V = Vec<float>;

TK_INLINE V Bound(V v, float low, float high) {
  const V lo = Set1(low), hi = Set1(high);
  v = v < lo ? lo : v;
  return v > hi ? hi : v;
}

// `Columns` neighbouring positions, whose windows lie inside: a vector of x serves all that see it.
template <int K, int Stride, int Columns>
TK_INLINE void Tile(const ChannelsRow& r, int64_t j, int64_t c, float* y) {
  V acc[Columns];
  TK_UNROLL
  for (int i = 0; i < Columns; ++i) acc[i] = Load(r.bias + c);
  TK_UNROLL
  for (int k = 0; k < K; ++k) {
    if (!r.x[k]) continue;
    const float* x = r.x[k] + (j * Stride - r.pad) * r.channels + c;
    V w[K];
    TK_UNROLL
    for (int t = 0; t < K; ++t) w[t] = Load(r.w + (k * K + t) * r.channels + c);
    TK_UNROLL
    for (int u = 0; u < (Columns - 1) * Stride + K; ++u) {
      const V xv = Load(x + u * r.channels);
      TK_UNROLL
      for (int i = 0; i < Columns; ++i) {
        const int t = u - i * Stride;
        if (t >= 0 && t < K) acc[i] += w[t] * xv;
      }
    }
  }
  TK_UNROLL
  for (int i = 0; i < Columns; ++i)
    Store(y + (j + i) * r.channels + c, Bound(acc[i], r.low, r.high));
}

// A position of whose window only the columns of taps [Begin, End) lie inside.
template <int K, int Begin, int End>
TK_INLINE void Part(const ChannelsRow& r, int64_t at, int64_t c, float* y) {
  V acc = Load(r.bias + c);
  TK_UNROLL
  for (int k = 0; k < K; ++k) {
    if (!r.x[k]) continue;
    TK_UNROLL
    for (int t = Begin; t < End; ++t)
      acc += Load(r.w + (k * K + t) * r.channels + c) * Load(r.x[k] + (at + t) * r.channels + c);
  }
  Store(y, Bound(acc, r.low, r.high));
}

// A position whose window hangs over the border.
template <int K, int Stride>
TK_INLINE void Border(const ChannelsRow& r, int64_t j, int64_t c, float* y) {
  const int64_t at = j * Stride - r.pad;
  y += j * r.channels + c;
  if (at == -1 && at + K <= r.in_columns) return Part<K, 1, K>(r, at, c, y);
  if (at >= 0 && at + K == r.in_columns + 1) return Part<K, 0, K - 1>(r, at, c, y);
  V acc = Load(r.bias + c);
  for (int k = 0; k < K; ++k) {
    if (!r.x[k]) continue;
    for (int t = 0; t < K; ++t)
      if (at + t >= 0 && at + t < r.in_columns)
        acc += Load(r.w + (k * K + t) * r.channels + c) * Load(r.x[k] + (at + t) * r.channels + c);
  }
  Store(y, Bound(acc, r.low, r.high));
}

template <int K, int Stride>
void Depthwise(const ChannelsRow& r, float* y) {
  constexpr int kColumns = 4;
  // Positions [begin, end) see nothing but x.
  int64_t begin = (r.pad + Stride - 1) / Stride;
  if (begin > r.columns) begin = r.columns;
  const int64_t room = r.in_columns + r.pad - K;
  int64_t end = room < 0 ? 0 : room / Stride + 1;
  if (end > r.columns) end = r.columns;
  if (end < begin) end = begin;
  for (int64_t c = 0; c < r.channels; c += kWidth) {
    for (int64_t j = 0; j < begin; ++j) Border<K, Stride>(r, j, c, y);
    int64_t j = begin;
    for (; j + kColumns <= end; j += kColumns) Tile<K, Stride, kColumns>(r, j, c, y);
    for (; j < end; ++j) Tile<K, Stride, 1>(r, j, c, y);
    for (; j < r.columns; ++j) Border<K, Stride>(r, j, c, y);
  }
}

}  // namespace

extern const ChannelsTable channels_table = {
    kWidth,
    {{Depthwise<3, 1>, Depthwise<3, 2>}, {Depthwise<5, 1>, Depthwise<5, 2>}},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
