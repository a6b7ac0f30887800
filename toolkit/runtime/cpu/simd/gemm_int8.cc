// Integer micro-kernels; see simd/gemm_int8.h for the contract. Without dot-product instructions,
// elements widen to 16 bits and pairs of products are added, which never saturates.
#include "simd/gemm_int8.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")

// Two steps of K: pairs of 16-bit elements, one pair a lane.
#if defined(__AVX512BW__)
using Lanes32 = __m512i;
constexpr int kPlainRows = 14;
TK_INLINE Lanes32 Zero() { return _mm512_setzero_si512(); }
TK_INLINE Lanes32 LoadPairs(const uint8_t* b) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
}
TK_INLINE Lanes32 Broadcast(int32_t pair) { return _mm512_set1_epi32(pair); }
TK_INLINE Lanes32 AddProducts(Lanes32 sum, Lanes32 a, Lanes32 b) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
TK_INLINE void StoreLanes(int32_t* c, Lanes32 v) { _mm512_storeu_si512(c, v); }
#elif defined(__AVX2__)
using Lanes32 = __m256i;
constexpr int kPlainRows = 5;
TK_INLINE Lanes32 Zero() { return _mm256_setzero_si256(); }
TK_INLINE Lanes32 LoadPairs(const uint8_t* b) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b)));
}
TK_INLINE Lanes32 Broadcast(int32_t pair) { return _mm256_set1_epi32(pair); }
TK_INLINE Lanes32 AddProducts(Lanes32 sum, Lanes32 a, Lanes32 b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
TK_INLINE void StoreLanes(int32_t* c, Lanes32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(c), v);
}
#elif defined(__SSE4_1__)
using Lanes32 = __m128i;
constexpr int kPlainRows = 5;
TK_INLINE Lanes32 Zero() { return _mm_setzero_si128(); }
TK_INLINE Lanes32 LoadPairs(const uint8_t* b) {
  return _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(b)));
}
TK_INLINE Lanes32 Broadcast(int32_t pair) { return _mm_set1_epi32(pair); }
TK_INLINE Lanes32 AddProducts(Lanes32 sum, Lanes32 a, Lanes32 b) {
  return _mm_add_epi32(sum, _mm_madd_epi16(a, b));
}
TK_INLINE void StoreLanes(int32_t* c, Lanes32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(c), v);
}
#else
// By the compiler's vectors: even and odd elements of a pair are the low and high half of a lane.
using Lanes32 = Vec<int32_t>;
constexpr int kPlainRows = 8;
typedef uint8_t Bytes8 __attribute__((vector_size(8)));
typedef int16_t Pairs8 __attribute__((vector_size(16)));
TK_INLINE Lanes32 Zero() { return Lanes32{}; }
TK_INLINE Lanes32 LoadPairs(const uint8_t* b) {
  Bytes8 bytes;
  memcpy(&bytes, b, sizeof(bytes));
  const Pairs8 wide = __builtin_convertvector(bytes, Pairs8);
  Lanes32 lanes;
  memcpy(&lanes, &wide, sizeof(lanes));
  return lanes;
}
TK_INLINE Lanes32 Broadcast(int32_t pair) { return pair - Lanes32{}; }
TK_INLINE Lanes32 AddProducts(Lanes32 sum, Lanes32 a, Lanes32 b) {
  const Lanes32 low = ((a << 16) >> 16) * (b & 0xffff), high = (a >> 16) * (b >> 16);
  return sum + low + high;
}
TK_INLINE void StoreLanes(int32_t* c, Lanes32 v) { memcpy(c, &v, sizeof(v)); }
#endif

constexpr int kPlainLanes = static_cast<int>(sizeof(Lanes32)) / 4;

template <int Rows>
void PlainUkernel(int64_t groups, const void* a, const uint8_t* b, const int64_t* offsets,
                  int32_t* c, int64_t ldc) {
  Lanes32 acc[Rows][2];
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) acc[i][0] = acc[i][1] = Zero();
  const char* pairs = static_cast<const char*>(a);
  for (int64_t g = 0; g < groups; ++g, pairs += 4 * Rows) {
    const uint8_t* at = b + offsets[g];
    const Lanes32 b0 = LoadPairs(at), b1 = LoadPairs(at + 2 * kPlainLanes);
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      int32_t pair;
      memcpy(&pair, pairs + 4 * i, 4);
      const Lanes32 av = Broadcast(pair);
      acc[i][0] = AddProducts(acc[i][0], av, b0);
      acc[i][1] = AddProducts(acc[i][1], av, b1);
    }
  }
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    StoreLanes(c + i * ldc, acc[i][0]);
    StoreLanes(c + i * ldc + kPlainLanes, acc[i][1]);
  }
}

// Four steps of K: vpdpbusd adds four products of an unsigned and a signed byte to a lane.
#if defined(__AVX512BW__)
#define TK_VNNI __attribute__((target("avx512vnni")))
template <int Rows>
TK_VNNI void VnniUkernel(int64_t groups, const void* a, const uint8_t* b, const int64_t* offsets,
                         int32_t* c, int64_t ldc) {
  __m512i acc[Rows][2];
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) acc[i][0] = acc[i][1] = _mm512_setzero_si512();
  const char* quads = static_cast<const char*>(a);
  for (int64_t g = 0; g < groups; ++g, quads += 4 * Rows) {
    const uint8_t* at = b + offsets[g];
    const __m512i b0 = _mm512_loadu_si512(at), b1 = _mm512_loadu_si512(at + 64);
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      int32_t quad;
      memcpy(&quad, quads + 4 * i, 4);
      const __m512i av = _mm512_set1_epi32(quad);
      acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], b0, av);
      acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], b1, av);
    }
  }
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    _mm512_storeu_si512(c + i * ldc, acc[i][0]);
    _mm512_storeu_si512(c + i * ldc + 16, acc[i][1]);
  }
}
#endif

template <class T, int kGroup>
void PackA(int64_t rows, int64_t k, const uint8_t* x, int64_t ld, uint8_t flip, void* out,
           int32_t* sums) {
  T* to = static_cast<T*>(out);
  const int64_t whole = k / kGroup * kGroup, groups = (k + kGroup - 1) / kGroup;
  for (int64_t i = 0; i < rows; ++i) {
    const uint8_t* row = x + i * ld;
    int32_t sum = 0;
    for (int64_t p = 0; p < k; ++p) sum += static_cast<int8_t>(row[p] ^ flip);
    sums[i] = sum;
    T* at = to + i * kGroup;
    for (int64_t p = 0; p < whole; p += kGroup, at += rows * kGroup)
      for (int s = 0; s < kGroup; ++s) at[s] = static_cast<int8_t>(row[p + s] ^ flip);
    if (groups * kGroup > k)
      for (int s = 0; s < kGroup; ++s)
        at[s] = whole + s < k ? static_cast<int8_t>(row[whole + s] ^ flip) : 0;
  }
}

template <int kGroup>
void PackB(int64_t k, int64_t n, int64_t width, const uint8_t* x, int64_t ld, uint8_t flip,
           uint8_t* out) {
  for (int64_t p = 0; p < k; p += kGroup, out += width * kGroup) {
    const uint8_t* row = x + p * ld;
    if (p + kGroup <= k && kGroup == 4) {
      const uint8_t *r1 = row + ld, *r2 = r1 + ld, *r3 = r2 + ld;
      TK_IVDEP
      for (int64_t j = 0; j < n; ++j) {
        out[4 * j] = row[j] ^ flip;
        out[4 * j + 1] = r1[j] ^ flip;
        out[4 * j + 2] = r2[j] ^ flip;
        out[4 * j + 3] = r3[j] ^ flip;
      }
    } else if (p + kGroup <= k) {
      const uint8_t* r1 = row + ld;
      TK_IVDEP
      for (int64_t j = 0; j < n; ++j) {
        out[2 * j] = row[j] ^ flip;
        out[2 * j + 1] = r1[j] ^ flip;
      }
    } else {
      for (int64_t j = 0; j < n; ++j)
        for (int s = 0; s < kGroup; ++s)
          out[kGroup * j + s] = p + s < k ? row[s * ld + j] ^ flip : 0;
    }
    if (n < width) memset(out + n * kGroup, 0, static_cast<size_t>((width - n) * kGroup));
  }
}

template <int kRows, int kRow = 1>
constexpr void FillPlain(Int8Kernels& table) {
  if constexpr (kRow <= kRows) {
    table.ukernel[kRow] = PlainUkernel<kRow>;
    FillPlain<kRows, kRow + 1>(table);
  }
}
constexpr Int8Kernels Plain() {
  Int8Kernels table = {};
  table.mr = kPlainRows, table.nr = 2 * kPlainLanes, table.group = 2, table.a_item = 2;
  FillPlain<kPlainRows>(table);
  table.pack_a = PackA<int16_t, 2>;
  table.pack_b = PackB<2>;
  return table;
}

#if defined(__AVX512BW__)
template <int kRows, int kRow = 1>
constexpr void FillVnni(Int8Kernels& table) {
  if constexpr (kRow <= kRows) {
    table.ukernel[kRow] = VnniUkernel<kRow>;
    FillVnni<kRows, kRow + 1>(table);
  }
}
constexpr Int8Kernels Vnni() {
  Int8Kernels table = {};
  table.mr = kMaxInt8Rows, table.nr = 32, table.group = 4, table.a_item = 1;
  FillVnni<kMaxInt8Rows>(table);
  table.pack_a = PackA<int8_t, 4>;
  table.pack_b = PackB<4>;
  return table;
}
#else
constexpr Int8Kernels Vnni() { return {}; }
#endif

}  // namespace

extern const Int8Table int8_table = {Plain(), Vnni()};

}  // namespace toolkit::TOOLKIT_ISA_NS
