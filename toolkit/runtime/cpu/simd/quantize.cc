// Loops of affine quantization, vectorized by the compiler.
#include "simd/quantize.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

// To nearest even at the last of `kDropped` fewer bits.
template <int kDropped>
TK_INLINE float DropBits(float x) {
  const uint32_t f = AsBits(x);
  const uint32_t r = f + ((1u << (kDropped - 1)) - 1) + ((f >> kDropped) & 1);
  return AsFloat(x == x ? r & ~((1u << kDropped) - 1) : f);
}

template <Precision kPrecision>
TK_INLINE float Rounded(float q) {
  if (kPrecision == Precision::kBFloat16) return DropBits<16>(q);
  if (kPrecision == Precision::kFloat) return q;
  const float magnitude = AsFloat(AsBits(q) & 0x7fffffffu);
  const float tiny = (magnitude + 0.5f) - 0.5f;  // Below 2^-14 steps of 2^-24 remain.
  const float fine = magnitude < 0x1p-14f ? tiny : DropBits<13>(magnitude);
  const float bounded = fine >= 65520.0f ? AsFloat(0x7f800000u) : fine;
  return AsFloat(AsBits(bounded) | (AsBits(q) & 0x80000000u));
}

// What is not below `low`, not above `high`; NaN becomes low.
TK_INLINE float Clamp(float x, float low, float high) {
  const float y = x > low ? x : low;
  return y < high ? y : high;
}

template <Precision kPrecision, class T>
void Quantize(void* y, const float* x, int64_t n, const Affine& a, float low, float high) {
  T* out = static_cast<T*>(y);
  // Clamped first, in the distance from zero: sums then fit, and rounding keeps whole bounds.
  if (a.step == 0) {
    const float scale = a.scale[0], zero = a.zero[0];
    const float bottom = low - zero, top = high - zero;
    const int32_t shift = static_cast<int32_t>(zero);
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) {
      const float q = Rounded<kPrecision>(x[i] / scale);
      out[i] = static_cast<T>(static_cast<int32_t>(__builtin_rintf(Clamp(q, bottom, top))) + shift);
    }
    return;
  }
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const float zero = a.zero[i], q = Rounded<kPrecision>(x[i] / a.scale[i]);
    const float clamped = Clamp(q, low - zero, high - zero);
    out[i] = static_cast<T>(static_cast<int32_t>(__builtin_rintf(clamped) + zero));
  }
}

template <class T>
void Dequantize(float* y, const void* x, int64_t n, const Affine& a) {
  const T* in = static_cast<const T*>(x);
  if (a.step == 0) {
    const float scale = a.scale[0], zero = a.zero[0];
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = (static_cast<float>(in[i]) - zero) * scale;
    return;
  }
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = (static_cast<float>(in[i]) - a.zero[i]) * a.scale[i];
}

// In float64, where nothing but the multiplier is inexact.
template <class T, int kStep>
__attribute__((noinline)) void RequantizeExactly(T* out, const int32_t* x, int64_t n,
                                                 const Requantize& r) {
  const double low = r.low - static_cast<double>(r.zero);
  const double high = r.high - static_cast<double>(r.zero);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t sum = static_cast<uint32_t>(x[i]) + static_cast<uint32_t>(r.bias);
    const double q = static_cast<int32_t>(sum) * static_cast<double>(r.multiplier[i * kStep]);
    const double least = q > low ? q : low;
    const double most = least < high ? least : high;
    out[i] = static_cast<T>(static_cast<int32_t>(__builtin_rint(most)) + r.zero);
  }
}

// In float32, whose result within the bounds is at most 511 * 2^-24 off; where that leaves doubt
// about the rounding, again in float64.
template <class T, int kStep>
void RequantizeSpan(T* out, const int32_t* x, int64_t n, const Requantize& r) {
  constexpr int kWidth = kLanes<float>;
  using Floats = Vec<float>;
  using Ints = Vec<int32_t>;
  typedef T Bytes __attribute__((vector_size(kWidth)));
  const Floats low = Set1(static_cast<float>(r.low - r.zero));
  const Floats high = Set1(static_cast<float>(r.high - r.zero));
  // Adding it rounds to a whole number.
  const Floats magic = Set1(0x1.8p23f), limit = Set1(0.4999f);
  const Vec<uint32_t> bias = Set1(static_cast<uint32_t>(r.bias));
  const Ints zero = Set1(r.zero);
  Ints doubt = {};
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Ints sum = (Ints)((Vec<uint32_t>)Load(x + i) + bias);
    const Floats factor = kStep ? Load(r.multiplier + i) : Set1(r.multiplier[0]);
    const Floats q = __builtin_convertvector(sum, Floats) * factor;
    const Floats least = q > low ? q : low;
    const Floats most = least < high ? least : high;
    const Floats whole = (most + magic) - magic, rest = most - whole;
    doubt |= (rest > limit) | (-rest > limit);
    const Bytes bytes = __builtin_convertvector(__builtin_convertvector(whole, Ints) + zero, Bytes);
    memcpy(out + i, &bytes, sizeof(bytes));
  }
  int32_t any = 0;
  for (int j = 0; j < kWidth; ++j) any |= doubt[j];
  if (any) i = 0;
  if (i == n) return;
  Requantize tail = r;
  tail.multiplier += kStep ? i : 0;
  RequantizeExactly<T, kStep>(out + i, x + i, n - i, tail);
}

template <class T>
void RequantizeRow(void* y, const int32_t* x, int64_t n, const Requantize& r) {
  T* out = static_cast<T*>(y);
  if (r.step == 0)
    RequantizeSpan<T, 0>(out, x, n, r);
  else
    RequantizeSpan<T, 1>(out, x, n, r);
}

template <Precision kPrecision>
void Divide(float* y, const float* x, int64_t n, const Affine& a) {
  if (a.step == 0) {
    const float scale = a.scale[0], zero = a.zero[0];
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = Rounded<kPrecision>(x[i] / scale) + zero;
    return;
  }
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = Rounded<kPrecision>(x[i] / a.scale[i]) + a.zero[i];
}

void Multiply(float* y, const float* x, int64_t n, const Affine& a) {
  Dequantize<float>(y, x, n, a);
}

void Range(const float* x, int64_t n, float* low, float* high) {
  constexpr int kWidth = kLanes<float>;
  Vec<float> least = Set1(*low), most = Set1(*high);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Vec<float> v = Load(x + i);
    least = v < least ? v : least;
    most = v > most ? v : most;
  }
  for (; i < n; ++i) {
    least[0] = x[i] < least[0] ? x[i] : least[0];
    most[0] = x[i] > most[0] ? x[i] : most[0];
  }
  for (int j = 0; j < kWidth; ++j) {
    *low = least[j] < *low ? least[j] : *low;
    *high = most[j] > *high ? most[j] : *high;
  }
}

#define TK_QUANTIZE(P)                                              \
  {Quantize<Precision::P, int8_t>, Quantize<Precision::P, uint8_t>, \
   Quantize<Precision::P, int16_t>, Quantize<Precision::P, uint16_t>}

}  // namespace

extern const QuantizeTable quantize_table = {
    {TK_QUANTIZE(kFloat), TK_QUANTIZE(kFloat16), TK_QUANTIZE(kBFloat16)},
    {Dequantize<int8_t>, Dequantize<uint8_t>, Dequantize<int16_t>, Dequantize<uint16_t>,
     Dequantize<int32_t>},
    {RequantizeRow<int8_t>, RequantizeRow<uint8_t>},
    {Divide<Precision::kFloat>, Divide<Precision::kFloat16>, Divide<Precision::kBFloat16>},
    Multiply,
    Range,
};

}  // namespace toolkit::TOOLKIT_ISA_NS
