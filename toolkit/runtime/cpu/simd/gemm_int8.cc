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
  const int64_t whole = k / kGroup * kGroup;
  for (int64_t i = 0; i < rows; ++i) {
    const uint8_t* row = x + i * ld;
    int32_t sum = 0;
    for (int64_t p = 0; p < k; ++p) sum += static_cast<int8_t>(row[p] ^ flip);
    sums[i] = sum;
    T* at = to + i * kGroup;
    int64_t p = 0;
    if constexpr (sizeof(T) == 1) {
      const uint32_t flips = flip * 0x01010101u;
      for (; p < whole; p += kGroup, at += rows * kGroup) {
        uint32_t quad;
        memcpy(&quad, row + p, 4);
        quad ^= flips;
        memcpy(at, &quad, 4);
      }
    }
    for (; p < whole; p += kGroup, at += rows * kGroup)
      for (int s = 0; s < kGroup; ++s) at[s] = static_cast<int8_t>(row[p + s] ^ flip);
    if (p < k)
      for (int s = 0; s < kGroup; ++s)
        at[s] = p + s < k ? static_cast<int8_t>(row[p + s] ^ flip) : 0;
  }
}

typedef uint8_t Bytes16V __attribute__((vector_size(16)));
typedef uint16_t Words8V __attribute__((vector_size(16)));

TK_INLINE Bytes16V LoadBytes(const uint8_t* x, uint8_t flip) {
  Bytes16V v;
  memcpy(&v, x, sizeof(v));
  return v ^ flip;
}

// One group of `steps` rows of B: 16 columns a pass.
template <int kGroup>
TK_INLINE void PackGroup(int64_t steps, int64_t n, const uint8_t* x, int64_t ld, uint8_t flip,
                         uint8_t* out) {
  int64_t j = 0;
  for (; j + 16 <= n; j += 16, out += 16 * kGroup) {
    Bytes16V r[kGroup];
    TK_UNROLL
    for (int s = 0; s < kGroup; ++s)
      r[s] = s < steps ? LoadBytes(x + s * ld + j, flip) : Bytes16V{};
    Words8V pairs[kGroup];  // Of steps 0 and 1, then of 2 and 3; low columns, high columns.
    TK_UNROLL
    for (int s = 0; s < kGroup; s += 2) {
      pairs[s] = (Words8V)__builtin_shufflevector(r[s], r[s + 1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20,
                                                  5, 21, 6, 22, 7, 23);
      pairs[s + 1] = (Words8V)__builtin_shufflevector(r[s], r[s + 1], 8, 24, 9, 25, 10, 26, 11, 27,
                                                      12, 28, 13, 29, 14, 30, 15, 31);
    }
    if constexpr (kGroup == 2) {
      memcpy(out, pairs, 32);
    } else {
      TK_UNROLL
      for (int h = 0; h < 2; ++h) {
        const Words8V low =
            __builtin_shufflevector(pairs[h], pairs[h + 2], 0, 8, 1, 9, 2, 10, 3, 11);
        const Words8V high =
            __builtin_shufflevector(pairs[h], pairs[h + 2], 4, 12, 5, 13, 6, 14, 7, 15);
        memcpy(out + 32 * h, &low, 16);
        memcpy(out + 32 * h + 16, &high, 16);
      }
    }
  }
  for (; j < n; ++j, out += kGroup)
    for (int s = 0; s < kGroup; ++s) out[s] = s < steps ? x[s * ld + j] ^ flip : 0;
}

template <int kGroup>
void PackB(int64_t k, int64_t n, int64_t width, const uint8_t* x, int64_t ld, uint8_t flip,
           uint8_t* out) {
  for (int64_t p = 0; p < k; p += kGroup, out += width * kGroup) {
    PackGroup<kGroup>(k - p, n, x + p * ld, ld, flip, out);
    if (n < width) memset(out + n * kGroup, 0, static_cast<size_t>((width - n) * kGroup));
  }
}

void TakeZeros(int64_t n, const int32_t* x, int32_t a_zero, const int32_t* columns,
               const int32_t* b_zero, int b_step, int32_t rest, int32_t* y) {
  const auto az = static_cast<uint32_t>(a_zero), r = static_cast<uint32_t>(rest);
  if (b_step == 0) {
    const uint32_t both = static_cast<uint32_t>(b_zero[0]) * r;
    TK_IVDEP
    for (int64_t j = 0; j < n; ++j)
      y[j] = static_cast<int32_t>(static_cast<uint32_t>(x[j]) -
                                  (az * static_cast<uint32_t>(columns[j]) + both));
    return;
  }
  TK_IVDEP
  for (int64_t j = 0; j < n; ++j)
    y[j] =
        static_cast<int32_t>(static_cast<uint32_t>(x[j]) - (az * static_cast<uint32_t>(columns[j]) +
                                                            static_cast<uint32_t>(b_zero[j]) * r));
}

template <class T>
void Gather(int64_t n, const void* x, int64_t stride, void* out) {
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(out);
  if (stride == 2) {
    TK_IVDEP
    for (int64_t j = 0; j < n; ++j) to[j] = from[2 * j];
    return;
  }
  for (int64_t j = 0; j < n; ++j) to[j] = from[j * stride];
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

extern const Int8Table int8_table = {Plain(), Vnni(), TakeZeros, Gather<uint16_t>,
                                     Gather<uint32_t>};

}  // namespace toolkit::TOOLKIT_ISA_NS
