// float32 hyperbolic and inverse functions over vectors. For simd/*.cc only.
// Polynomials of asin and atan from Cephes (Moshier, netlib.org/cephes, single precision).
#pragma once

#include "simd/math.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

TK_INLINE F32 Sqrt(F32 x) {
  for (int k = 0; k < kF32; ++k) x[k] = __builtin_sqrtf(x[k]);
  return x;
}

// asin(x) = x + x z P(z) for z = x^2 <= 1/4.
TK_INLINE F32 AsinPoly(F32 x, F32 z) {
  F32 p = 4.2163199048e-2f * z + 2.4181311049e-2f;
  p = p * z + 4.5470025998e-2f;
  p = p * z + 7.4953002686e-2f;
  p = p * z + 1.6666752422e-1f;
  return p * z * x + x;
}
TK_INLINE F32 Asin(F32 x) {
  const F32 a = Abs(x);
  const auto big = a > 0.5f;
  const F32 half = 0.5f - 0.5f * a;  // sin^2 of half the complement.
  const F32 z = big ? half : a * a;
  const F32 s = AsinPoly(big ? Sqrt(half) : a, z);
  // pi/2 in two parts; beyond 1 the root is NaN.
  return CopySign(big ? 1.57079637f - ((s + s) + 4.37113883e-8f) : s, x);
}
TK_INLINE F32 Acos(F32 x) {
  const F32 a = Abs(x);
  const F32 half = 0.5f - 0.5f * a;
  const F32 s = AsinPoly(Sqrt(half), half);
  const F32 large = x < 0.0f ? 3.14159265358979324f - (s + s) : s + s;
  return a > 0.5f ? large : 1.57079632679489662f - AsinPoly(x, x * x);
}

TK_INLINE F32 Atan(F32 x) {
  const F32 a = Abs(x);
  const auto high = a > 2.414213562373095f, middle = a > 0.4142135623730950f;
  const F32 t = high ? -1.0f / a : middle ? (a - 1.0f) / (a + 1.0f) : a;
  const F32 base = high     ? Splat(1.57079632679489662f)
                   : middle ? Splat(0.78539816339744831f)
                            : F32{};
  const F32 low = base * -2.78275e-8f;  // What rounding base to float took away.
  const F32 z = t * t;
  F32 p = 8.05374449538e-2f * z + -1.38776856032e-1f;
  p = p * z + 1.99777106478e-1f;
  p = p * z + -3.33329491539e-1f;
  return x == x ? CopySign(base + (p * z * t + (t + low)), x) : x;
}

// e^x / 2 for x >= 0; reaches ln(2) farther than e^x.
constexpr float kHalfExpLimit = 89.415986f;
TK_INLINE F32 HalfExp(F32 x) {
  const F32 y = ExpScaled(Min(x, Splat(kHalfExpLimit)), -1);
  return x <= kHalfExpLimit ? y : x + kInfinity;
}
TK_INLINE F32 Sinh(F32 x) {
  const F32 a = Abs(x);
  const F32 e = Expm1(a < 2.0f ? a : Splat(2.0f));
  const F32 small = 0.5f * (e + e / (e + 1.0f));
  const F32 h = HalfExp(a);
  const F32 y = a < 1.0f ? small : h - 0.25f / h;
  return x == x ? CopySign(y, x) : x;
}
TK_INLINE F32 Cosh(F32 x) {
  const F32 h = HalfExp(Abs(x));
  return h + 0.25f / h;
}

constexpr float kLog2 = 0.69314718055994531f;

TK_INLINE F32 Asinh(F32 x) {
  const F32 a = Abs(x);
  const F32 t = a < 1e9f ? a : F32{};
  const F32 z = t * t;
  const F32 y = a < 1e9f ? Log1p(t + z / (1.0f + Sqrt(z + 1.0f))) : Log(a) + kLog2;
  return x == x ? CopySign(y, x) : x;
}
TK_INLINE F32 Acosh(F32 x) {
  const F32 t = x - 1.0f;
  const F32 y = x < 1e9f ? Log1p(t + Sqrt(t * (t + 2.0f))) : Log(x) + kLog2;
  return x < 1.0f ? Splat(kNaN) : y;
}
TK_INLINE F32 Atanh(F32 x) {
  const F32 a = Abs(x);
  const F32 y = 0.5f * Log1p((a + a) / (1.0f - a));
  return x == x ? CopySign(a <= 1.0f ? y : Splat(kNaN), x) : x;
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
