// See simd/weights.h. A row's codes become floats in two vectors; a group's products are summed
// apart, and scaled once.
#include "simd/weights.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 16")

using F32 = Vec<float>;
using I32 = Vec<int32_t>;
constexpr int kL = kLanes<float>, kNr = 2 * kL;
constexpr int64_t kAhead = 4096;  // Bytes: memory that will be read next is asked for.

// One byte a lane, signed and unsigned. By instructions, since GCC 12 converts one by one.
#if defined(__AVX512F__)
TK_INLINE __m128i Bytes(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
TK_INLINE I32 Signed(const uint8_t* p) { return (I32)_mm512_cvtepi8_epi32(Bytes(p)); }
TK_INLINE I32 Unsigned(const uint8_t* p) { return (I32)_mm512_cvtepu8_epi32(Bytes(p)); }
#elif defined(__AVX2__)
TK_INLINE __m128i Bytes(const uint8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}
TK_INLINE I32 Signed(const uint8_t* p) { return (I32)_mm256_cvtepi8_epi32(Bytes(p)); }
TK_INLINE I32 Unsigned(const uint8_t* p) { return (I32)_mm256_cvtepu8_epi32(Bytes(p)); }
#elif defined(__SSE4_1__)
TK_INLINE __m128i Bytes(const uint8_t* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm_cvtsi32_si128(four);
}
TK_INLINE I32 Signed(const uint8_t* p) { return (I32)_mm_cvtepi8_epi32(Bytes(p)); }
TK_INLINE I32 Unsigned(const uint8_t* p) { return (I32)_mm_cvtepu8_epi32(Bytes(p)); }
#else
template <class T>
TK_INLINE I32 Widened(const uint8_t* p) {
  typename VecOf<T, kL>::type bytes;
  memcpy(&bytes, p, sizeof(bytes));
  return __builtin_convertvector(bytes, I32);
}
TK_INLINE I32 Signed(const uint8_t* p) { return Widened<int8_t>(p); }
TK_INLINE I32 Unsigned(const uint8_t* p) { return Widened<uint8_t>(p); }
#endif

struct Int8 {
  static constexpr bool kScaled = true;
  static constexpr int kRowBytes = kNr;
  TK_INLINE static void Load(const uint8_t* row, F32& low, F32& high) {
    low = __builtin_convertvector(Signed(row), F32);
    high = __builtin_convertvector(Signed(row + kL), F32);
  }
  static void PackRow(const void* codes, uint8_t* out) { memcpy(out, codes, kRowBytes); }
};

struct Int4 {
  static constexpr bool kScaled = true;
  static constexpr int kRowBytes = kL;
  TK_INLINE static void Load(const uint8_t* row, F32& low, F32& high) {
    const I32 both = Unsigned(row);
#if defined(__AVX512F__)
    // A permutation by the low four bits of a lane is a table of 16 floats.
    const F32 table = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    low = __builtin_shuffle(table, both);
    high = __builtin_shuffle(table, both >> 4);
#else
    low = __builtin_convertvector((both << 28) >> 28, F32);
    high = __builtin_convertvector((both << 24) >> 28, F32);
#endif
  }
  static void PackRow(const void* row, uint8_t* out) {
    const auto* codes = static_cast<const int8_t*>(row);
    for (int j = 0; j < kL; ++j)
      out[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + kL] & 15) << 4);
  }
};

struct BFloat16 {
  static constexpr bool kScaled = false;
  static constexpr int kRowBytes = 2 * kNr;
  TK_INLINE static F32 Half(const uint8_t* row) {
#if defined(__AVX512F__)
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
    return (F32)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16);
#elif defined(__AVX2__)
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
    return (F32)_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
#else
    uint16_t bits[kL];
    memcpy(bits, row, sizeof(bits));
    Vec<uint32_t> wide;
    for (int j = 0; j < kL; ++j) wide[j] = static_cast<uint32_t>(bits[j]) << 16;
    return (F32)wide;
#endif
  }
  TK_INLINE static void Load(const uint8_t* row, F32& low, F32& high) {
    low = Half(row), high = Half(row + 2 * kL);
  }
  static void PackRow(const void* codes, uint8_t* out) { memcpy(out, codes, kRowBytes); }
};

#if defined(__AVX2__)  // And F16C, which every such processor has.
struct Float16 {
  static constexpr bool kScaled = false;
  static constexpr int kRowBytes = 2 * kNr;
  TK_INLINE static F32 Half(const uint8_t* row) {
#if defined(__AVX512F__)
    return (F32)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)));
#else
    return (F32)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
#endif
  }
  TK_INLINE static void Load(const uint8_t* row, F32& low, F32& high) {
    low = Half(row), high = Half(row + 2 * kL);
  }
  static void PackRow(const void* codes, uint8_t* out) { memcpy(out, codes, kRowBytes); }
};
#endif

template <class Format>
int64_t HeadBytes(const WeightPanel& panel) {
  return Format::kScaled ? kNr * 4 * (panel.zeros ? 2 : 1) : 0;
}

template <class Format>
int64_t GroupBytes(const WeightPanel& panel) {
  return HeadBytes<Format>(panel) + panel.group * Format::kRowBytes;
}

template <class Format, int Rows>
void MultiplyRows(const WeightPanel& panel, const float* x, int64_t ldx, const float* sums,
                  float* y, int64_t ldy) {
  constexpr int kChains = Rows == 1 ? 4 : Rows == 2 ? 2 : 1;  // Enough to hide the latency.
  constexpr int kStep = 4;
  const int64_t groups = (panel.k + panel.group - 1) / panel.group;
  F32 total[Rows][2] = {};
  const uint8_t* at = panel.data;
  for (int64_t g = 0, k0 = 0; g < groups; ++g, k0 += panel.group) {
    const float* scale = reinterpret_cast<const float*>(at);
    at += HeadBytes<Format>(panel);
    const int64_t steps = panel.k - k0 < panel.group ? panel.k - k0 : panel.group;
    F32 part[kChains][Rows][2] = {};
    const float* xk = x + k0;
    int64_t k = 0;
    for (; k + kStep <= steps; k += kStep, at += kStep * Format::kRowBytes) {
      TK_UNROLL
      for (int p = 0; p < kStep * Format::kRowBytes; p += 64) __builtin_prefetch(at + kAhead + p);
      TK_UNROLL
      for (int u = 0; u < kStep; ++u) {
        F32 low, high;
        Format::Load(at + u * Format::kRowBytes, low, high);
        TK_UNROLL
        for (int i = 0; i < Rows; ++i) {
          const F32 xv = Set1(xk[i * ldx + k + u]);
          part[u % kChains][i][0] += xv * low;
          part[u % kChains][i][1] += xv * high;
        }
      }
    }
    for (; k < steps; ++k, at += Format::kRowBytes) {
      F32 low, high;
      Format::Load(at, low, high);
      TK_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const F32 xv = Set1(xk[i * ldx + k]);
        part[0][i][0] += xv * low;
        part[0][i][1] += xv * high;
      }
    }
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int v = 0; v < 2; ++v) {
        F32 sum = part[0][i][v];
        TK_UNROLL
        for (int u = 1; u < kChains; ++u) sum += part[u][i][v];
        if (Format::kScaled) {
          if (panel.zeros) sum -= Load(scale + kNr + v * kL) * Set1(sums[i * groups + g]);
          sum *= Load(scale + v * kL);
        }
        total[i][v] += sum;
      }
    }
  }
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    Store(y + i * ldy, total[i][0]);
    Store(y + i * ldy + kL, total[i][1]);
  }
}

template <class Format>
void Unpack(const WeightPanel& panel, int64_t k0, int64_t kc, float* out) {
  const int64_t bytes = GroupBytes<Format>(panel), head = HeadBytes<Format>(panel);
  for (int64_t end = k0 + kc; k0 < end;) {
    const int64_t g = k0 / panel.group, in_group = k0 - g * panel.group;
    int64_t steps = panel.group - in_group;
    if (steps > end - k0) steps = end - k0;
    const uint8_t* at = panel.data + g * bytes;
    const float* scale = reinterpret_cast<const float*>(at);
    F32 s0 = {}, s1 = {}, z0 = {}, z1 = {};
    if (Format::kScaled) s0 = Load(scale), s1 = Load(scale + kL);
    if (panel.zeros) z0 = Load(scale + kNr), z1 = Load(scale + kNr + kL);
    at += head + in_group * Format::kRowBytes;
    for (int64_t k = 0; k < steps; ++k, at += Format::kRowBytes, out += kNr) {
      if (k % 2 == 0) __builtin_prefetch(at + kAhead);
      F32 low, high;
      Format::Load(at, low, high);
      if (Format::kScaled) low = (low - z0) * s0, high = (high - z1) * s1;
      Store(out, low);
      Store(out + kL, high);
    }
    k0 += steps;
  }
}

template <class Format>
constexpr WeightKernels Kernels() {
  return {kNr,
          {nullptr, MultiplyRows<Format, 1>, MultiplyRows<Format, 2>, MultiplyRows<Format, 3>,
           MultiplyRows<Format, 4>},
          Unpack<Format>,
          Format::PackRow};
}

}  // namespace

#if defined(__AVX2__)
constexpr WeightKernels kFloat16 = Kernels<Float16>();
#else
constexpr WeightKernels kFloat16 = {};
#endif

extern const WeightTable weight_table = {
    {Kernels<Int8>(), Kernels<Int4>(), kFloat16, Kernels<BFloat16>()}};

}  // namespace toolkit::TOOLKIT_ISA_NS
