// float32 functions over vectors, generic in width. For simd/*.cc only.
//
// Polynomials: exp, log, tanh, sin, cos from Cephes (Moshier, netlib.org/cephes, single precision);
// erf from N. Juffa's minimax pair (published in forums.developer.nvidia.com, < 1 ulp with FMA).
// Largest errors are measured by tests/runtime/test_elementwise.py and listed in NUMERICS.md.
// Denormal arguments and results count as zero (FlushDenormals).
#pragma once

#include <math.h>

#include "simd/f32.h"
#include "simd/piecewise.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

// e^r - 1 for |r| <= ln(2) / 2.
TK_INLINE F32 Expm1Poly(F32 r) {
  F32 p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r;
}

struct ExpParts {
  F32 r;    // The reduced argument: x = r + n ln(2).
  F32 sum;  // n + 1.5 2^23: its low bits are the integer n.
};
TK_INLINE ExpParts ReduceExp(F32 x) {
  const F32 sum = x * 1.44269504088896341f + 12582912.0f;
  const F32 n = sum - 12582912.0f;
  const F32 r = x - n * 0.693359375f;
  return {r - n * -2.12194440e-4f, sum};
}
// 2^scale e^x, where the result is a normal number.
TK_INLINE F32 ExpScaled(F32 x, int32_t scale) {
  const ExpParts e = ReduceExp(x);
  F32 p = 1.9875691500e-4f * e.r + 1.3981999507e-3f;
  p = p * e.r + 8.3334519073e-3f;
  p = p * e.r + 4.1665795894e-2f;
  p = p * e.r + 1.6666665459e-1f;
  p = p * e.r + 5.0000001201e-1f;
  p = p * (e.r * e.r) + e.r + 1.0f;
  // n joins the exponent.
  return FromWord(Word(p) + (Word(e.sum) << 23) + (static_cast<uint32_t>(scale) << 23));
}
// e^x without the ends: right for -87.33 < x < 88.72.
TK_INLINE F32 ExpInside(F32 x) { return ExpScaled(x, 0); }

TK_INLINE F32 Exp(F32 x) {
  F32 y = ExpInside(x);
  y = x < -87.33654f ? F32{} : y;
  return x <= 88.722835f ? y : x + kInfinity;  // NaN stays.
}

// For arguments at most 0; a NaN with a payload may come out as a number.
TK_INLINE F32 ExpNonPositive(F32 x) {
  const F32 y = ExpInside(x);
  return x < -87.33654f ? F32{} : y;
}

// 2^n for n in [-126, 127].
TK_INLINE F32 PowerOfTwo(I32 n) { return FromWord((U32)(n + 127) << 23); }

TK_INLINE F32 Expm1(F32 x) {
  const F32 inside = x < -20.0f ? Splat(-20.0f) : x > 80.0f ? Splat(80.0f) : x;
  const ExpParts e = ReduceExp(inside);
  const F32 scale = PowerOfTwo((I32)(Word(e.sum) << 9) >> 9);
  const F32 small = Expm1Poly(e.r) * scale + (scale - 1.0f);
  const F32 y = x > 80.0f ? Exp(x) : small;
  return x == 0.0f || x != x ? x : y;
}

TK_INLINE F32 Log(F32 x) {
  const I32 e = (I32)(Word(x) - 0x3f3504f3u) >> 23;  // Mantissa in [sqrt(1/2), sqrt(2)).
  const F32 z = FromWord(Word(x) - ((U32)e << 23)) - 1.0f;
  const F32 n = __builtin_convertvector(e, F32);
  F32 p = 7.0376836292e-2f * z + -1.1514610310e-1f;
  p = p * z + 1.1676998740e-1f;
  p = p * z + -1.2420140846e-1f;
  p = p * z + 1.4249322787e-1f;
  p = p * z + -1.6668057665e-1f;
  p = p * z + 2.0000714765e-1f;
  p = p * z + -2.4999993993e-1f;
  p = p * z + 3.3333331174e-1f;
  const F32 z2 = z * z;
  F32 y = p * z * z2;
  y = n * -2.12194440e-4f + y;
  y = y - 0.5f * z2;
  y = n * 0.693359375f + (z + y);
  y = x < 1.17549435e-38f ? Splat(-kInfinity) : y;
  y = x < 0.0f ? Splat(kNaN) : y;
  return x < kInfinity ? y : x + x;  // inf and NaN.
}

// log(1 + x): the rounding of 1 + x is given back to first order.
TK_INLINE F32 Log1p(F32 x) {
  const F32 u = 1.0f + x;
  const F32 y = Log(u) + (x - (u - 1.0f)) / u;
  const F32 special = Log(u);
  return u > 0.0f && u < kInfinity ? (x == 0.0f ? x : y) : special;
}

TK_INLINE F32 Tanh(F32 x) {
#if defined(__AVX512F__)
  return PiecewiseTanh(x);
#else
  const F32 z = Abs(x), s = x * x;
  F32 p = -5.70498872745e-3f * s + 2.06390887954e-2f;
  p = p * s + -5.37397155531e-2f;
  p = p * s + 1.33314422036e-1f;
  p = p * s + -3.33332819422e-1f;
  const F32 small = p * s * x + x;
  const F32 e = ExpInside(z < 10.0f ? z + z : Splat(20.0f));
  const F32 large = 1.0f - 2.0f / (1.0f + e);
  return x == x ? CopySign(z < 0.625f ? small : large, x) : x;
#endif
}

// About 1 / x, x a normal number: the caller puts its error right.
TK_INLINE F32 NearReciprocal(F32 x) {
#if defined(__AVX512F__)
  return (F32)_mm512_rcp14_ps((__m512)x);
#else
  return 1.0f / x;
#endif
}

// With exp(-|x|) = 2^n (1 + q), s = 2^-n and d = s + 1 + q: (1 + q) / d below zero, s / d above.
// What rounds in d and in its reciprocal is given back to first order: 1.5 ulp in place of 2.4.
TK_INLINE F32 Sigmoid(F32 x) {
  const F32 bound = x < 0.0f ? Splat(-88.0f) : Splat(-20.0f);  // There the result is 0 or 1.
  const ExpParts t = ReduceExp(Max(bound, -Abs(x)));
  const F32 q = Expm1Poly(t.r);
  const F32 s = FromWord(Word(Splat(1.0f)) - (Word(t.sum) << 23));
  const F32 s1 = s + 1.0f, d = s1 + q, d_low = q - (d - s1);
  const F32 r = NearReciprocal(d);
  const F32 error = (1.0f - r * d) - r * d_low;
  const F32 y = x < 0.0f ? q * r + r : s * r;
  return y * error + y;
}

// erfc(t) = exp(this) for t > 0.92.
TK_INLINE F32 LogErfcPoly(F32 t) {
  t = t > 11.0f ? Splat(11.0f) : t;
  const F32 s = t * t;
  F32 r = -1.72853470e-5f * t + 3.83197126e-4f;
  const F32 u = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * s + u;
  r = r * t + -1.06777877e-1f;
  r = r * t + -6.34846687e-1f;
  r = r * t + -1.28717512e-1f;
  return r * t - t;
}
// erf(x) for |x| < 0.93.
TK_INLINE F32 ErfPoly(F32 x) {
  const F32 s = x * x;
  F32 r = -5.96761703e-4f * s + 4.99119423e-3f;
  r = r * s + -2.67681349e-2f;
  r = r * s + 1.12819925e-1f;
  r = r * s + -3.76125336e-1f;
  r = r * s + 1.28379166e-1f;
  return r * x + x;
}
TK_INLINE F32 Erf(F32 x) {
  const F32 t = Abs(x);
  const F32 large = CopySign(1.0f - ExpNonPositive(LogErfcPoly(t)), x);
  return t > 0.927734375f ? large : ErfPoly(x);
}

// x Phi(x); below -1.3 by erfc, where 1 + erf would cancel.
TK_INLINE F32 Gelu(F32 x) {
#if defined(__AVX512F__)
  return PiecewiseGelu(x);
#else
  const F32 v = x * 0.70710678118654752f;
  const F32 t = Abs(v), half = 0.5f * x;
  const F32 e = ExpNonPositive(LogErfcPoly(t));
  const F32 tail = x < 0.0f ? half * e : x - half * e;
  const F32 y = t > 0.927734375f ? tail : half * ErfPoly(v) + half;
  return x < -14.0f ? Splat(-0.0f) : x > 14.0f ? x : y;
#endif
}

// x / (1 + e^-2u) is x (1 + tanh u) / 2 without cancellation.
TK_INLINE F32 GeluTanh(F32 x) {
  const F32 u = x * (0.0713548162726f * (x * x) + 1.5957691216057308f);
  const F32 y = x / (1.0f + Exp(-u));
  return x < -14.0f ? Splat(-0.0f) : y;
}

TK_INLINE F32 Softplus(F32 x) {
  const F32 y = Max(x, F32{}) + Log1p(ExpNonPositive(-Abs(x)));
  return x == x ? y : x;
}

// tanh(log(1 + e)) = n / (n + 2), n = e (e + 2).
TK_INLINE F32 Mish(F32 x) {
  const F32 e = Exp(x > 20.0f ? Splat(20.0f) : x);
  const F32 n = e * (e + 2.0f);
  const F32 y = x * (n / (n + 2.0f));
  return x < -100.0f ? Splat(-0.0f) : y;
}

// Quadrant and reduced argument in double, exact enough for |x| < kTrigLimit.
constexpr float kTrigLimit = 1.0e6f;
struct TrigParts {
  F32 sin, cos;  // Of the reduced argument in [-pi/4, pi/4].
  I32 quadrant;
};
TK_INLINE TrigParts ReduceTrig(F32 x) {
  const F64x d = Widen(x);
  const F64x n = RoundSmall(d * 0.63661977236758134308);
  const F32 r = Narrow((d - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11);
  const F32 z = r * r;
  F32 s = -1.9515295891e-4f * z + 8.3321608736e-3f;
  s = s * z + -1.6666654611e-1f;
  s = s * z * r + r;
  F32 c = 2.443315711809948e-5f * z + -1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = c * z * z - 0.5f * z + 1.0f;
  return {s, c, __builtin_convertvector(Narrow(n), I32)};
}
TK_INLINE F32 QuadrantSin(const TrigParts& t, I32 q) {
  const F32 y = (q & 1) != 0 ? t.cos : t.sin;
  return FromWord(Word(y) ^ ((U32)(q & 2) << 30));
}
TK_INLINE F32 Sin(F32 x) {
  const TrigParts t = ReduceTrig(x);
  return x == 0.0f ? x : QuadrantSin(t, t.quadrant);
}
TK_INLINE F32 Cos(F32 x) {
  const TrigParts t = ReduceTrig(x);
  return QuadrantSin(t, t.quadrant + 1);
}
TK_INLINE F32 Tan(F32 x) {
  const TrigParts t = ReduceTrig(x);
  const F32 y = (t.quadrant & 1) != 0 ? -t.cos / t.sin : t.sin / t.cos;
  return x == 0.0f ? x : y;
}

// log2 of a positive finite double that was a float, relative error about 1e-11.
TK_INLINE F64x Log2Wide(F64x x) {
  const I64x e = (I64x)(Word(x) - 0x3fe6a09e667f3bcdULL) >> 52;
  const F64x m = (F64x)(Word(x) - ((U64x)e << 52));
  // 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716.
  const F64x s = (m - 1.0) / (m + 1.0), z = s * s;
  F64x p = 1.0 / 15 * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  p = p * z + 1.0;
  return p * s * 2.88539008177792681472 + __builtin_convertvector(e, F64x);
}
// 2^x for |x| < 1000, relative error about 1e-9.
TK_INLINE F64x Exp2Wide(F64x x) {
  const F64x n = RoundSmall(x);
  const F64x r = (x - n) * 0.69314718055994530942;
  F64x p = 1.0 / 40320 * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  // The magic sum holds n in its low bits.
  const U64x scale = (Word(n + 6755399441055744.0) + 1023) << 52;
  return p * (F64x)scale;
}

// Computed in double; special cases as C's pow.
TK_INLINE F32 Pow(F32 x, F32 y) {
  const F32 ax = Abs(x);
  const F32 safe = ax >= 1.17549435e-38f && ax < kInfinity ? ax : Splat(1.0f);
  F64x t = Widen(y) * Log2Wide(Widen(safe));
  t = t > 400.0 ? F64x{} + 400.0 : t;
  t = t < -400.0 ? F64x{} - 400.0 : t;
  F32 r = Narrow(Exp2Wide(t));
  // 0 and inf: the sign of y decides.
  const F32 at_zero = y > 0.0f ? F32{} : Splat(kInfinity);
  const F32 at_infinity = y > 0.0f ? Splat(kInfinity) : F32{};
  r = ax < 1.17549435e-38f ? at_zero : r;
  r = ax == kInfinity ? at_infinity : r;
  // An infinite exponent (|x| = 1 gives 1).
  const F32 grows = ax > 1.0f ? Splat(kInfinity) : F32{};
  const F32 shrinks = ax > 1.0f ? F32{} : Splat(kInfinity);
  const F32 wild = ax == 1.0f ? Splat(1.0f) : (y > 0.0f ? grows : shrinks);
  r = Abs(y) == kInfinity ? wild : r;
  // Negative bases: odd exponents keep the sign, fractions have no real value.
  const F32 ay = Abs(y);
  const F32 whole = ay < 8388608.0f ? RoundSmall(ay) : ay;  // RoundSmall is exact up to 2^22.
  const F32 whole_big =
      ay < 4194304.0f
          ? whole
          : __builtin_convertvector(__builtin_convertvector(ay < 1e9f ? ay : F32{}, I32), F32);
  const auto is_whole = (ay < 1e9f ? whole_big : ay) == ay;
  const I32 as_int = __builtin_convertvector(ay < 16777216.0f ? ay : F32{}, I32);
  const auto is_odd = is_whole & ((as_int & 1) != 0);
  const auto negative = Bits(x) < 0;
  r = (negative & is_odd) != 0 ? -r : r;
  r = ((x < 0.0f) & (ax < kInfinity) & ~is_whole & (ax >= 1.17549435e-38f)) != 0 ? Splat(kNaN) : r;
  r = x != x ? x : r;
  r = y != y ? y : r;
  return ((y == 0.0f) | (x == 1.0f)) != 0 ? Splat(1.0f) : r;
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
