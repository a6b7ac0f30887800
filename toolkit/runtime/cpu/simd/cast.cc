// Conversions between element types, and selection.
#include "simd/elementwise.h"
#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;
template <>
constexpr bool kIsFloat<double> = true;

template <class To, class From>
struct Convert {
  static TK_INLINE To Run(From x) { return static_cast<To>(x); }
};

// Floats to integers, without undefined behaviour.
template <class From>
TK_INLINE int32_t ToInt32(From x) {
  const From low = static_cast<From>(-2147483648.0);
  const From high = kIsFloat<From> && sizeof(From) == 4 ? static_cast<From>(2147483520.0)
                                                        : static_cast<From>(2147483647.0);
  const From safe = x > low ? (x < high ? x : high) : low;
  const int32_t y = static_cast<int32_t>(safe);
  return x != x ? 0 : sizeof(From) == 4 && x > high ? INT32_MAX : y;
}
template <class From>
TK_INLINE int64_t ToInt64(From x) {
  const From limit = static_cast<From>(9223372036854775808.0);
  const From safe = x >= -limit && x < limit ? x : From(0);
  const int64_t y = static_cast<int64_t>(safe);
  return x >= limit ? INT64_MAX : x < -limit ? INT64_MIN : y;
}
template <class From>
TK_INLINE uint64_t ToUInt64(From x) {
  const From half = static_cast<From>(9223372036854775808.0);
  if (!(x >= half)) return static_cast<uint64_t>(ToInt64(x));
  if (x >= half * From(2)) return UINT64_MAX;
  return static_cast<uint64_t>(ToInt64(x - half)) + (uint64_t{1} << 63);
}
#define TK_FROM_FLOAT(To, expression)                                         \
  template <>                                                                 \
  struct Convert<To, float> {                                                 \
    static TK_INLINE To Run(float x) { return static_cast<To>(expression); }  \
  };                                                                          \
  template <>                                                                 \
  struct Convert<To, double> {                                                \
    static TK_INLINE To Run(double x) { return static_cast<To>(expression); } \
  };
TK_FROM_FLOAT(int8_t, ToInt32(x))
TK_FROM_FLOAT(uint8_t, ToInt32(x))
TK_FROM_FLOAT(int16_t, ToInt32(x))
TK_FROM_FLOAT(uint16_t, ToInt32(x))
TK_FROM_FLOAT(int32_t, ToInt32(x))
TK_FROM_FLOAT(uint32_t, ToInt64(x))
TK_FROM_FLOAT(int64_t, ToInt64(x))
TK_FROM_FLOAT(uint64_t, ToUInt64(x))
#undef TK_FROM_FLOAT

template <class From, class To>
void Cast(void* y, const void* x, int64_t n, const double*) {
  To* out = static_cast<To*>(y);
  const From* in = static_cast<const From*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = Convert<To, From>::Run(in[i]);
}
template <class From>
void ToBool(void* y, const void* x, int64_t n, const double*) {
  uint8_t* out = static_cast<uint8_t*>(y);
  const From* in = static_cast<const From*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] != From(0);
}

void HalfToFloat(void* y, const void* x, int64_t n, const double*) {
  float* out = static_cast<float*>(y);
  const uint16_t* in = static_cast<const uint16_t*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t h = in[i], magnitude = h & 0x7fff;
    const uint32_t normal = (magnitude << 13) + ((127 - 15) << 23);
    const uint32_t special = (magnitude << 13) | 0x7f800000;  // inf, NaN.
    // Denormals by integer conversion: flushing denormal floats must not touch them.
    const uint32_t tiny = AsBits(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
    const uint32_t bits = magnitude >= 0x7c00 ? special : magnitude < 0x400 ? tiny : normal;
    out[i] = AsFloat(bits | (h & 0x8000) << 16);
  }
}

// To nearest even (F. Giesen, "float->half variants", 2012).
void FloatToHalf(void* y, const void* x, int64_t n, const double*) {
  uint16_t* out = static_cast<uint16_t*>(y);
  const float* in = static_cast<const float*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t all = AsBits(in[i]), sign = all & 0x80000000u, f = all ^ sign;
    const uint32_t special = f > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const uint32_t tiny = AsBits(AsFloat(f) + 0.5f) - AsBits(0.5f);  // Below 2^-14.
    const uint32_t normal = (f + 0xc8000fffu + ((f >> 13) & 1)) >> 13;
    const uint32_t h = f >= 0x47800000u ? special : f < 0x38800000u ? tiny : normal;
    out[i] = static_cast<uint16_t>(h | sign >> 16);
  }
}

void BFloatToFloat(void* y, const void* x, int64_t n, const double*) {
  uint32_t* out = static_cast<uint32_t*>(y);
  const uint16_t* in = static_cast<const uint16_t*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint32_t>(in[i]) << 16;
}

void FloatToBFloat(void* y, const void* x, int64_t n, const double*) {
  uint16_t* out = static_cast<uint16_t*>(y);
  const uint32_t* in = static_cast<const uint32_t*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t f = in[i];
    const uint32_t rounded = (f + 0x7fff + ((f >> 16) & 1)) >> 16;
    const uint32_t nan = (f >> 16) | 0x40;
    out[i] = static_cast<uint16_t>((f & 0x7fffffff) > 0x7f800000 ? nan : rounded);
  }
}

struct Pair {
  uint64_t low, high;
};
template <class T>
void Select(void* y, const uint8_t* condition, const void* a, const void* b, int64_t n) {
  T* out = static_cast<T*>(y);
  const T* p = static_cast<const T*>(a);
  const T* q = static_cast<const T*>(b);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T u = p[i], v = q[i];
    out[i] = condition[i] ? u : v;
  }
}

#define TK_CASTS_FROM(From)                                                              \
  {Cast<From, float>,    Cast<From, double>,  Cast<From, int8_t>,  Cast<From, int16_t>,  \
   Cast<From, int32_t>,  Cast<From, int64_t>, Cast<From, uint8_t>, Cast<From, uint16_t>, \
   Cast<From, uint32_t>, Cast<From, uint64_t>}

}  // namespace

extern const CastTable cast_table = {
    {TK_CASTS_FROM(float), TK_CASTS_FROM(double), TK_CASTS_FROM(int8_t), TK_CASTS_FROM(int16_t),
     TK_CASTS_FROM(int32_t), TK_CASTS_FROM(int64_t), TK_CASTS_FROM(uint8_t),
     TK_CASTS_FROM(uint16_t), TK_CASTS_FROM(uint32_t), TK_CASTS_FROM(uint64_t)},
    {ToBool<float>, ToBool<double>, ToBool<int8_t>, ToBool<int16_t>, ToBool<int32_t>,
     ToBool<int64_t>, ToBool<uint8_t>, ToBool<uint16_t>, ToBool<uint32_t>, ToBool<uint64_t>},
    HalfToFloat,
    FloatToHalf,
    BFloatToFloat,
    FloatToBFloat,
    {Select<uint8_t>, Select<uint16_t>, Select<uint32_t>, Select<uint64_t>, Select<Pair>},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
