// Vectors of float32 and their bits: what simd/math.h is written in. For simd/*.cc only.
#pragma once

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

using F32 = Vec<float>;
using I32 = Vec<int32_t>;
using U32 = Vec<uint32_t>;
constexpr int kF32 = kLanes<float>;
// As many doubles as F32 has floats; the compiler splits it over registers.
using F64x = VecOf<double, kF32>::type;
using I64x = VecOf<int64_t, kF32>::type;
using U64x = VecOf<uint64_t, kF32>::type;

TK_INLINE F32 Splat(float x) { return x - F32{}; }
TK_INLINE I32 Bits(F32 x) { return (I32)x; }
TK_INLINE F32 FromBits(I32 x) { return (F32)x; }
// Bits that may leave the range of a signed integer, and shifts of them.
TK_INLINE U32 Word(F32 x) { return (U32)x; }
TK_INLINE U64x Word(F64x x) { return (U64x)x; }
TK_INLINE F32 FromWord(U32 x) { return (F32)x; }
TK_INLINE F32 Abs(F32 x) { return FromBits(Bits(x) & 0x7fffffff); }
TK_INLINE F32 CopySign(F32 magnitude, F32 sign) {
  return FromBits((Bits(magnitude) & 0x7fffffff) | (Bits(sign) & INT32_MIN));
}
// To nearest even for |x| < 2^22.
TK_INLINE F32 RoundSmall(F32 x) { return (x + 12582912.0f) - 12582912.0f; }
TK_INLINE F64x RoundSmall(F64x x) { return (x + 6755399441055744.0) - 6755399441055744.0; }
TK_INLINE F64x Widen(F32 x) { return __builtin_convertvector(x, F64x); }
TK_INLINE F32 Narrow(F64x x) { return __builtin_convertvector(x, F32); }

TK_INLINE F32 Max(F32 a, F32 b) { return a > b ? a : b; }  // b when either is NaN.
TK_INLINE F32 Min(F32 a, F32 b) { return a < b ? a : b; }

constexpr float kInfinity = __builtin_inff();
constexpr float kNaN = __builtin_nanf("");

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
