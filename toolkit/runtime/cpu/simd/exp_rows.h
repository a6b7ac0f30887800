// Maximum, exp and sum over a row: the parts of a softmax. For simd/*.cc only.
// float32 by vectors of math.h, float64 by the C library.
#pragma once

#include "simd/math.h"
#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

using F64 = Vec<double>;
TK_INLINE F32 VExp(F32 x) { return Exp(x); }
TK_INLINE F32 VExpDown(F32 x) { return ExpNonPositive(x); }  // x <= 0.
TK_INLINE F64 VExp(F64 x) {
  for (int k = 0; k < kLanes<double>; ++k) x[k] = exp(x[k]);
  return x;
}
TK_INLINE F64 VExpDown(F64 x) { return VExp(x); }

template <class T>
TK_INLINE Vec<T> Filled(const T* p, int64_t n, T fill) {
  T part[kLanes<T>];
  for (int k = 0; k < kLanes<T>; ++k) part[k] = fill;
  memcpy(part, p, static_cast<size_t>(n) * sizeof(T));
  return Load(part);
}
template <class T>
TK_INLINE Vec<T> MaxNaN(Vec<T> a, Vec<T> x) {
  return ((x > a) | (x != x)) ? x : a;
}

template <class T>
T RowMax(const T* x, int64_t n) {
  constexpr int L = kLanes<T>;
  const T low = -static_cast<T>(kInfinity);
  Vec<T> a = Vec<T>{} + low, b = a;
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    a = MaxNaN<T>(a, Load(x + i));
    b = MaxNaN<T>(b, Load(x + i + L));
  }
  for (; i + L <= n; i += L) a = MaxNaN<T>(a, Load(x + i));
  if (i < n) b = MaxNaN<T>(b, Filled(x + i, n - i, low));
  a = MaxNaN<T>(a, b);
  T m = a[0];
  for (int k = 1; k < L; ++k) m = a[k] > m || a[k] != a[k] ? a[k] : m;
  return m;
}

// Sum of exp(x - shift); kStore: the terms go to y.
template <class T, bool kStore>
T ExpSum(T* y, const T* x, int64_t n, T shift) {
  constexpr int L = kLanes<T>;
  Vec<T> a = {}, b = {};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const Vec<T> u = VExpDown(Load(x + i) - shift), v = VExpDown(Load(x + i + L) - shift);
    if (kStore) Store(y + i, u), Store(y + i + L, v);
    a += u;
    b += v;
  }
  for (; i < n; i += L) {
    const int64_t m = n - i < L ? n - i : L;
    const Vec<T> u = VExpDown(Filled(x + i, m, -static_cast<T>(kInfinity)) - shift);
    if (kStore) StorePart(y + i, u, m);
    a += u;
    // Lanes past the end hold exp(-inf) = 0.
  }
  a += b;
  double sum = 0;
  for (int k = 0; k < L; ++k) sum += static_cast<double>(a[k]);
  return shift == shift ? static_cast<T>(sum) : shift;
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
