// Loops over codes, vectorized by the compiler. Built with -ffp-contract=off: the steps of
// DequantizeLinear, of the operator and of QuantizeLinear each round.
#include "simd/codes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <bool kMul, class T>
TK_INLINE T Code(T a, T b, const CodesArgs& p) {
  const float x = (static_cast<float>(a) - p.a_zero) * p.a_scale;
  const float y = (static_cast<float>(b) - p.b_zero) * p.b_scale;
  float q = (kMul ? x * y : x + y) / p.scale;
  q = q > p.low ? q : p.low;  // NaN becomes low.
  q = q < p.high ? q : p.high;
  return static_cast<T>(static_cast<int32_t>(__builtin_rintf(q)) + static_cast<int32_t>(p.zero));
}

template <bool kMul, class T>
void Binary(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step,
            const void* args) {
  CodesArgs p;
  memcpy(&p, args, sizeof(p));
  p.low -= p.zero, p.high -= p.zero;
  T* out = static_cast<T*>(y);
  const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
  if (a_step && b_step) {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = Code<kMul>(left[i], right[i], p);
  } else if (a_step) {
    const T one = right[0];
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = Code<kMul>(left[i], one, p);
  } else {
    const T one = left[0];
    for (int64_t i = 0; i < n; ++i) out[i] = Code<kMul>(one, right[i * b_step], p);
  }
}

void LookUp(const uint8_t* table, const uint8_t* x, int64_t n, uint8_t* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

#if defined(__AVX512BW__)
__attribute__((target("avx512vbmi"))) void LookUpVbmi(const uint8_t* table, const uint8_t* x,
                                                      int64_t n, uint8_t* y) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  for (int64_t i = 0; i < n; i += 64) {
    const __mmask64 mask = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
    const __m512i v = _mm512_maskz_loadu_epi8(mask, x + i);
    const __m512i low = _mm512_permutex2var_epi8(t0, v, t1);
    const __m512i high = _mm512_permutex2var_epi8(t2, v, t3);
    _mm512_mask_storeu_epi8(y + i, mask, _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
  }
}
constexpr auto* kLookUpVbmi = LookUpVbmi;
#else
constexpr void (*kLookUpVbmi)(const uint8_t*, const uint8_t*, int64_t, uint8_t*) = nullptr;
#endif

void MaxRows(const uint8_t* const* x, int64_t count, int64_t n, uint8_t* y) {
  memcpy(y, x[0], static_cast<size_t>(n));
  for (int64_t t = 1; t < count; ++t) {
    const uint8_t* row = x[t];
    TK_IVDEP
    for (int64_t j = 0; j < n; ++j) y[j] = row[j] > y[j] ? row[j] : y[j];
  }
}

void SumRows(const uint8_t* const* x, int64_t count, int64_t n, int32_t* sum) {
  memset(sum, 0, static_cast<size_t>(n) * sizeof(int32_t));
  for (int64_t t = 0; t < count; ++t) {
    const uint8_t* row = x[t];
    TK_IVDEP
    for (int64_t j = 0; j < n; ++j) sum[j] += row[j];
  }
}

}  // namespace

extern const CodesTable codes_table = {
    {Binary<false, int8_t>, Binary<false, uint8_t>},
    {Binary<true, int8_t>, Binary<true, uint8_t>},
    LookUp,
    kLookUpVbmi,
    MaxRows,
    SumRows,
};

}  // namespace toolkit::TOOLKIT_ISA_NS
