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
// The largest lane, halves first.
template <class T, int N>
TK_INLINE T MaxLanes(typename VecOf<T, N>::type v) {
  if constexpr (N == 2) {
    return v[0] > v[1] ? v[0] : v[1];
  } else {
    const auto low = LowLanes<N>(v), high = HighLanes<N>(v);
    return MaxLanes<T, N / 2>(low > high ? low : high);
  }
}

// NaN if there is one: its bits without the sign are above infinity's, and the largest of such bits
// is found beside the largest number.
template <class T>
T RowMax(const T* x, int64_t n) {
  constexpr int L = kLanes<T>;
  const T low = -static_cast<T>(kInfinity);
  Vec<T> a = Vec<T>{} + low, b = a;
  using Ints = decltype(a != a);
  const Ints infinite = (Ints)(Vec<T>{} + static_cast<T>(kInfinity));
  const Ints magnitude = ~(Ints)Set1<T>(-T(0));
  Ints most = Ints{};
  const auto look = [&](Vec<T> v) TK_LAMBDA_INLINE {
    const Ints bits = (Ints)v & magnitude;
    most = most > bits ? most : bits;
  };
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const Vec<T> u = Load(x + i), v = Load(x + i + L);
    a = a > u ? a : u;
    b = b > v ? b : v;
    look(u), look(v);
  }
  for (; i < n; i += L) {
    const Vec<T> u = n - i < L ? Filled(x + i, n - i, low) : Load(x + i);
    a = a > u ? a : u;
    look(u);
  }
  const T m = MaxLanes<T, L>(a > b ? a : b);
  // As a number, the mask's lanes are NaN where set.
  const T odd = static_cast<T>(SumLanes<T>((Vec<T>)(most > infinite)));
  return odd == odd ? m : odd;
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
  const double sum = SumLanes<T>(a + b);
  return shift == shift ? static_cast<T>(sum) : shift;
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
