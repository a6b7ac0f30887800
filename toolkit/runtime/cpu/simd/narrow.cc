// Conversions of narrow floats and integers, by arithmetic on the bits of float32.
#include "simd/narrow.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

TK_INLINE float PowerOfTwo(int exponent) {
  return AsFloat(static_cast<uint32_t>(exponent + 127) << 23);
}

constexpr uint32_t kNoCode = ~0u, kInfinity = 0x7f800000u, kNaN = 0x7fc00000u;

// kLast: the largest finite code without its sign; kInf, kNan: likewise, kNoCode where there is
// none. Fnuz: no -0, whose code is the only NaN.
template <int kExponent, int kMantissaBits, int kBiasOf, uint32_t kLast, uint32_t kInf,
          uint32_t kNan, bool kFnuz>
struct Format {
  static constexpr int kMantissa = kMantissaBits, kBias = kBiasOf;
  static constexpr uint32_t kSign = 1u << (kExponent + kMantissa), kMask = kSign - 1;
  static constexpr uint32_t kLargest = kLast, kInfCode = kInf, kNanCode = kNan;
  static constexpr bool kUnsignedZero = kFnuz;
};
using E4M3FN = Format<4, 3, 7, 0x7e, kNoCode, 0x7f, false>;
using E4M3FNUZ = Format<4, 3, 8, 0x7f, kNoCode, kNoCode, true>;
using E5M2 = Format<5, 2, 15, 0x7b, 0x7c, 0x7e, false>;
using E5M2FNUZ = Format<5, 2, 16, 0x7f, kNoCode, kNoCode, true>;
using E2M1 = Format<2, 1, 1, 0x7, kNoCode, kNoCode, false>;
using E2M3 = Format<2, 3, 1, 0x1f, kNoCode, kNoCode, false>;
using E3M2 = Format<3, 2, 3, 0x1f, kNoCode, kNoCode, false>;

template <class F>
void Decode(void* y, const void* x, int64_t n, const double*) {
  float* out = static_cast<float*>(y);
  const uint8_t* in = static_cast<const uint8_t*>(x);
  const float quantum = PowerOfTwo(1 - F::kBias - F::kMantissa);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t code = in[i], magnitude = code & F::kMask;
    const uint32_t sign = (code & F::kSign) ? 0x80000000u : 0;
    const uint32_t normal =
        (magnitude << (23 - F::kMantissa)) + (static_cast<uint32_t>(127 - F::kBias) << 23);
    const uint32_t tiny = AsBits(static_cast<float>(static_cast<int32_t>(magnitude)) * quantum);
    uint32_t bits = magnitude < (1u << F::kMantissa) ? tiny : normal;
    if (F::kInfCode != kNoCode) bits = magnitude >= F::kInfCode ? kInfinity : bits;
    if (F::kNanCode != kNoCode) bits = magnitude > F::kLargest + 1 ? kNaN : bits;
    if (F::kNanCode == F::kLargest + 1) bits = magnitude == F::kNanCode ? kNaN : bits;
    bits |= sign;
    if (F::kUnsignedZero) bits = code == F::kSign ? kNaN | 0x80000000u : bits;
    out[i] = AsFloat(bits);
  }
}

template <class F>
void Encode(void* y, const void* x, int64_t n, const double* params) {
  uint8_t* out = static_cast<uint8_t*>(y);
  const float* in = static_cast<const float*>(x);
  constexpr bool kSmall = F::kNanCode == kNoCode && !F::kUnsignedZero;
  constexpr uint32_t kNanOf = F::kUnsignedZero ? F::kSign : F::kNanCode;
  constexpr uint32_t kBeyond = F::kInfCode != kNoCode ? F::kInfCode : kNanOf;
  const uint32_t beyond = kSmall || params[0] != 0 ? F::kLargest : kBeyond;
  constexpr int kShift = 23 - F::kMantissa;
  // Adding it leaves the rounded quotient by the smallest step in the low bits.
  const float magic = PowerOfTwo(24 - F::kBias - F::kMantissa);
  constexpr uint32_t kFirstNormal = static_cast<uint32_t>(128 - F::kBias) << 23;
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t all = AsBits(in[i]), f = all & 0x7fffffffu;
    const uint32_t sign = (all >> 31) ? F::kSign : 0;
    const uint32_t tiny = AsBits(AsFloat(f) + magic) - AsBits(magic);
    const uint32_t rounded = (f + ((1u << (kShift - 1)) - 1) + ((f >> kShift) & 1)) >> kShift;
    uint32_t code =
        f < kFirstNormal ? tiny : rounded - (static_cast<uint32_t>(127 - F::kBias) << F::kMantissa);
    code = code > F::kLargest ? beyond : code;
    if (F::kUnsignedZero) {
      code = code == 0 || code == F::kSign ? code : code | sign;
      code = f > kInfinity ? F::kSign : code;
    } else if (kSmall) {
      code = f > kInfinity ? F::kSign ^ sign : code | sign;
    } else {
      code = (f > kInfinity ? F::kNanCode : code) | sign;
    }
    out[i] = static_cast<uint8_t>(code);
  }
}

void DecodePower(void* y, const void* x, int64_t n, const double*) {
  uint32_t* out = static_cast<uint32_t*>(y);
  const uint8_t* in = static_cast<const uint8_t*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t code = in[i];
    out[i] = code == 255 ? kNaN : code == 0 ? 0x400000u : code << 23;
  }
}

void DecodePowerToDouble(void* y, const void* x, int64_t n, const double*) {
  uint64_t* out = static_cast<uint64_t*>(y);
  const uint8_t* in = static_cast<const uint8_t*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t code = in[i];
    out[i] = code == 255 ? uint64_t{0x7ff8000000000000} : (code + 1023 - 127) << 52;
  }
}

// Code c stands for 2^(c - 127). By integers alone, since 2^-127 is no normal float32.
void EncodePower(void* y, const void* x, int64_t n, const double* params) {
  uint8_t* out = static_cast<uint8_t*>(y);
  const float* in = static_cast<const float*>(x);
  const bool saturate = params[0] != 0;
  const auto mode = static_cast<PowerRounding>(static_cast<int>(params[1]));
  // Least fraction that rounds up, of normal numbers and of those below 2^-126.
  const uint32_t least = mode == PowerRounding::kUp        ? 1
                         : mode == PowerRounding::kNearest ? 0x400000
                                                           : kNoCode;
  const uint32_t least_tiny = mode == PowerRounding::kUp        ? 0x400001
                              : mode == PowerRounding::kNearest ? 0x600000
                                                                : kNoCode;
  const uint32_t above = saturate ? 254 : 255, below = saturate ? 0 : 255;
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t f = AsBits(in[i]) & 0x7fffffffu, exponent = f >> 23, fraction = f & 0x7fffff;
    uint32_t code = exponent + (fraction >= (exponent == 0 ? least_tiny : least) ? 1 : 0);
    code = code >= 255 ? above : code;
    code = f < 0x400000 ? below : code;
    out[i] = static_cast<uint8_t>(f > kInfinity ? 255 : code);
  }
}

template <int kBits, bool kSigned>
void Extend(void* y, const void* x, int64_t n, const double*) {
  int8_t* out = static_cast<int8_t*>(y);
  const uint8_t* in = static_cast<const uint8_t*>(x);
  constexpr int kMask = (1 << kBits) - 1, kSignBit = kSigned ? 1 << (kBits - 1) : 0;
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<int8_t>(((in[i] & kMask) ^ kSignBit) - kSignBit);
}
template <int kBits>
void Truncate(void* y, const void* x, int64_t n, const double*) {
  uint8_t* out = static_cast<uint8_t*>(y);
  const uint8_t* in = static_cast<const uint8_t*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] & ((1 << kBits) - 1);
}

TK_INLINE uint32_t DoubleToOdd(double x) {
  uint64_t all;
  memcpy(&all, &x, 8);
  const uint64_t f = all & 0x7fffffffffffffff, sign = all >> 63 << 31;
  const int64_t exponent = static_cast<int64_t>(f >> 52) - 1023 + 127;  // float32's.
  const uint64_t fraction = f & 0xfffffffffffff;
  const uint64_t normal = (static_cast<uint64_t>(exponent) << 52 | fraction);
  // Denormal in float32: the leading bit is written out and moves down, at most out of sight.
  const int64_t down = exponent < -30 ? 31 : 1 - exponent;
  const uint64_t tiny = (fraction | uint64_t{1} << 52) >> (down & 63);
  const uint64_t lost = ((fraction | uint64_t{1} << 52) & ((uint64_t{1} << (down & 63)) - 1)) != 0;
  const uint64_t value = exponent > 0 ? normal : tiny | lost;
  uint64_t bits = value >> 29 | ((value & 0x1fffffff) != 0);
  bits = exponent >= 255 ? 0x7f7fffff : bits;  // The largest is odd.
  bits = f >= uint64_t{0x7ff0000000000000} ? (fraction ? kNaN : kInfinity) : bits;
  bits = f >> 52 == 0 ? 0 : bits;  // Denormal doubles count as zero.
  return static_cast<uint32_t>(bits | sign);
}

template <class T>
void ToFloatOdd(void* y, const void* x, int64_t n, const double*) {
  uint32_t* out = static_cast<uint32_t*>(y);
  const T* in = static_cast<const T*>(x);
  for (int64_t i = 0; i < n; ++i) {
    T v = in[i];
    if constexpr (sizeof(T) == 8) {  // To 53 bits, to odd.
      const T low = v & 0x7ff;
      const bool fits = v < T(1) << 53 && (T(-1) > T(0) || v > -(T(1) << 53));
      v = fits ? v : (v - low) | (low != 0 ? T(0x800) : T(0));
    }
    out[i] = DoubleToOdd(static_cast<double>(v));
  }
}
template <>
void ToFloatOdd<double>(void* y, const void* x, int64_t n, const double*) {
  uint32_t* out = static_cast<uint32_t*>(y);
  const double* in = static_cast<const double*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = DoubleToOdd(in[i]);
}

}  // namespace

extern const NarrowTable narrow_table = {
    {Decode<E4M3FN>, Decode<E4M3FNUZ>, Decode<E5M2>, Decode<E5M2FNUZ>, Decode<E2M1>, Decode<E2M3>,
     Decode<E3M2>},
    {Encode<E4M3FN>, Encode<E4M3FNUZ>, Encode<E5M2>, Encode<E5M2FNUZ>, Encode<E2M1>, Encode<E2M3>,
     Encode<E3M2>},
    DecodePower,
    DecodePowerToDouble,
    EncodePower,
    {Extend<4, false>, Extend<4, true>, Extend<2, false>, Extend<2, true>},
    {Truncate<4>, Truncate<4>, Truncate<2>, Truncate<2>},
    {nullptr, ToFloatOdd<double>, nullptr, nullptr, ToFloatOdd<int32_t>, ToFloatOdd<int64_t>,
     nullptr, nullptr, ToFloatOdd<uint32_t>, ToFloatOdd<uint64_t>},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
