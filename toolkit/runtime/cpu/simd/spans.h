// Loops over spans for simd/*.cc: whole vectors, the tail through the same vector code.
#pragma once

#include "simd/vec.h"

#define TK_LAMBDA_INLINE __attribute__((always_inline))

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T>
TK_INLINE Vec<T> LoadPart(const T* p, int64_t n) {
  Vec<T> v = {};
  memcpy(&v, p, static_cast<size_t>(n) * sizeof(T));
  return v;
}
template <class T>
TK_INLINE void StorePart(T* p, Vec<T> v, int64_t n) {
  memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
}

// The sum of the lanes, halves first.
// The two halves of a vector's lanes, without a way through memory.
template <int N, class V>
TK_INLINE auto LowLanes(V v) {
  if constexpr (N == 16)
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  else if constexpr (N == 8)
    return __builtin_shufflevector(v, v, 0, 1, 2, 3);
  else
    return __builtin_shufflevector(v, v, 0, 1);
}
template <int N, class V>
TK_INLINE auto HighLanes(V v) {
  if constexpr (N == 16)
    return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  else if constexpr (N == 8)
    return __builtin_shufflevector(v, v, 4, 5, 6, 7);
  else
    return __builtin_shufflevector(v, v, 2, 3);
}
template <class T, int N>
TK_INLINE T SumLanes(typename VecOf<T, N>::type v) {
  if constexpr (N == 2) {
    return v[0] + v[1];
  } else if constexpr (N == 4 && sizeof(T) == 4) {
    return (v[0] + v[2]) + (v[1] + v[3]);
  } else {
    return SumLanes<T, N / 2>(LowLanes<N>(v) + HighLanes<N>(v));
  }
}
template <class T>
TK_INLINE double SumLanes(Vec<T> v) {
  return static_cast<double>(SumLanes<T, kLanes<T>>(v));
}

// Calls whole(i) for each vector of L elements and part(i, m) for the m elements left over.
template <class T, class Whole, class Part>
TK_INLINE void ForVectors(int64_t n, Whole whole, Part part) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= n; i += L) whole(i);
  if (i < n) part(i, n - i);
}

// y[i] = fn(x[i]) by vectors.
template <class T, class Fn>
TK_INLINE void MapVectors(T* y, const T* x, int64_t n, Fn fn) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {  // Two chains hide the latency of polynomials.
    const Vec<T> a = fn(Load(x + i)), b = fn(Load(x + i + L));
    Store(y + i, a);
    Store(y + i + L, b);
  }
  for (; i + L <= n; i += L) Store(y + i, fn(Load(x + i)));
  if (i < n) StorePart(y + i, fn(LoadPart(x + i, n - i)), n - i);
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
