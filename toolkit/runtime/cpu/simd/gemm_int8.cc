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

typedef uint8_t Bytes16V __attribute__((vector_size(16)));
typedef uint16_t Words8V __attribute__((vector_size(16)));
typedef uint32_t Quads4V __attribute__((vector_size(16)));

// The sum of the signed bytes x[p] ^ flip.
TK_INLINE int32_t SumOfRow(int64_t k, const uint8_t* x, uint8_t flip) {
  int64_t p = 0;
  uint32_t sum = 0;
#if defined(__x86_64__)
  const __m128i move = _mm_set1_epi8(static_cast<char>(flip ^ 0x80)), none = _mm_setzero_si128();
  __m128i sums = none;
  for (; p + 16 <= k; p += 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + p));
    sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_xor_si128(v, move), none));
  }
  sum = static_cast<uint32_t>(_mm_cvtsi128_si64(sums) +
                              _mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums))) -
        128u * static_cast<uint32_t>(p);
#endif
  auto rest = static_cast<int32_t>(sum);
  for (; p < k; ++p) rest += static_cast<int8_t>(x[p] ^ flip);
  return rest;
}

// Groups of 4 bytes of four rows: a square of four by four of them is transposed in registers.
TK_INLINE void PackQuads(int64_t rows, int64_t groups, const uint8_t* x, int64_t ld, uint8_t flip,
                         int8_t* out) {
  const uint32_t flips = flip * 0x01010101u;
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    int64_t g = 0;
    for (; g + 4 <= groups; g += 4) {
      Quads4V r[4];
      TK_UNROLL
      for (int u = 0; u < 4; ++u) {
        memcpy(&r[u], x + (i + u) * ld + 4 * g, 16);
        r[u] ^= flips;
      }
      const Quads4V a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
      const Quads4V b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
      const Quads4V c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
      const Quads4V d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      const Quads4V t[4] = {
          __builtin_shufflevector(a, c, 0, 1, 4, 5), __builtin_shufflevector(a, c, 2, 3, 6, 7),
          __builtin_shufflevector(b, d, 0, 1, 4, 5), __builtin_shufflevector(b, d, 2, 3, 6, 7)};
      TK_UNROLL
      for (int u = 0; u < 4; ++u) memcpy(out + ((g + u) * rows + i) * 4, &t[u], 16);
    }
    for (; g < groups; ++g)
      for (int u = 0; u < 4; ++u) {
        uint32_t quad;
        memcpy(&quad, x + (i + u) * ld + 4 * g, 4);
        quad ^= flips;
        memcpy(out + (g * rows + i + u) * 4, &quad, 4);
      }
  }
  for (; i < rows; ++i)
    for (int64_t g = 0; g < groups; ++g) {
      uint32_t quad;
      memcpy(&quad, x + i * ld + 4 * g, 4);
      quad ^= flips;
      memcpy(out + (g * rows + i) * 4, &quad, 4);
    }
}

template <class T, int kGroup>
void PackA(int64_t rows, int64_t k, const uint8_t* x, int64_t ld, uint8_t flip, void* out,
           int32_t* sums) {
  T* to = static_cast<T*>(out);
  const int64_t groups = k / kGroup, whole = groups * kGroup;
  if constexpr (sizeof(T) == 1) PackQuads(rows, groups, x, ld, flip, to);
  for (int64_t i = 0; i < rows; ++i) {
    const uint8_t* row = x + i * ld;
    sums[i] = SumOfRow(k, row, flip);
    T* at = to + i * kGroup;
    if constexpr (sizeof(T) != 1) {
      for (int64_t p = 0; p < whole; p += kGroup, at += rows * kGroup)
        for (int s = 0; s < kGroup; ++s) at[s] = static_cast<int8_t>(row[p + s] ^ flip);
    } else {
      at += groups * rows * kGroup;
    }
    if (whole < k)
      for (int s = 0; s < kGroup; ++s)
        at[s] = whole + s < k ? static_cast<int8_t>(row[whole + s] ^ flip) : 0;
  }
}

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
#if defined(__AVX512BW__)
  if constexpr (kGroup == 4) {
    const __m512i move = _mm512_set1_epi8(static_cast<char>(flip));
    for (; j + 64 <= n; j += 64, out += 256) {
      __m512i r[4];
      TK_UNROLL
      for (int s = 0; s < 4; ++s)
        r[s] = s < steps ? _mm512_xor_si512(_mm512_loadu_si512(x + s * ld + j), move)
                         : _mm512_setzero_si512();
      const __m512i a = _mm512_unpacklo_epi8(r[0], r[1]), b = _mm512_unpackhi_epi8(r[0], r[1]);
      const __m512i c = _mm512_unpacklo_epi8(r[2], r[3]), d = _mm512_unpackhi_epi8(r[2], r[3]);
      // Of each 16 columns: the first to the last four.
      const __m512i q0 = _mm512_unpacklo_epi16(a, c), q1 = _mm512_unpackhi_epi16(a, c);
      const __m512i q2 = _mm512_unpacklo_epi16(b, d), q3 = _mm512_unpackhi_epi16(b, d);
      const __m512i e = _mm512_shuffle_i32x4(q0, q1, 0x44), f = _mm512_shuffle_i32x4(q2, q3, 0x44);
      const __m512i g = _mm512_shuffle_i32x4(q0, q1, 0xee), h = _mm512_shuffle_i32x4(q2, q3, 0xee);
      _mm512_storeu_si512(out, _mm512_shuffle_i32x4(e, f, 0x88));
      _mm512_storeu_si512(out + 64, _mm512_shuffle_i32x4(e, f, 0xdd));
      _mm512_storeu_si512(out + 128, _mm512_shuffle_i32x4(g, h, 0x88));
      _mm512_storeu_si512(out + 192, _mm512_shuffle_i32x4(g, h, 0xdd));
    }
  }
#endif
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

// Tiles of sums to outputs: a row is a few vectors, all of them in registers.
using Ints = Vec<int32_t>;
using Words = Vec<uint32_t>;
using Floats = Vec<float>;
constexpr int kL = kLanes<int32_t>, kTileColumns = 2 * kL;
static_assert(kTileColumns == 2 * kPlainLanes, "tiles of both kinds have two vectors of columns");

// The low byte of each lane.
TK_INLINE void StoreBytes(uint8_t* out, Ints v) {
#if defined(__AVX512BW__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8((__m512i)v));
#else
  typedef uint8_t Bytes __attribute__((vector_size(sizeof(v))));
  Bytes b;
  memcpy(&b, &v, sizeof(b));
  for (int j = 0; j < kL; ++j) out[j] = b[4 * j];
#endif
}

TK_INLINE bool AnyAbove(Floats v, float limit) {
#if defined(__AVX512BW__)
  return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
#else
  bool any = false;
  for (int j = 0; j < kL; ++j) any |= v[j] > limit;
  return any;
#endif
}

// Sums without what zero points added. Zeros: whether there may be any.
template <bool Zeros>
TK_INLINE Ints Corrected(const TileFinish& f, int i, const int32_t* x, int j, Words bias) {
  Words v = (Words)Load(x + j);
  if (Zeros && f.columns)
    v -= (Words)Load(f.columns + j) * Set1(static_cast<uint32_t>(f.a_zero[i]));
  if (Zeros && f.b_zero) v -= (Words)Load(f.b_zero + j) * Set1(static_cast<uint32_t>(f.rest[i]));
  return (Ints)(v + bias);
}
TK_INLINE Words BiasOf(const TileFinish& f, int i) {
  return Set1(f.bias ? static_cast<uint32_t>(f.bias[i]) : 0u);
}
TK_INLINE const float* MultiplierOf(const TileFinish& f, int i) {
  return f.multiplier + i * f.row_step * (f.column_step ? kTileColumns : 1);
}

// In float64, where nothing but the multiplier is inexact.
template <class T>
__attribute__((noinline)) void RequantizeExactly(const TileFinish& f, int i, const int32_t* x,
                                                 T* out) {
  const double low = (static_cast<T>(-1) < 0 ? -128.0 : 0.0) - f.zero, high = low + 255;
  const float* multiplier = MultiplierOf(f, i);
  for (int j = 0; j < kTileColumns; j += kL) {
    const Ints v = Corrected<true>(f, i, x, j, BiasOf(f, i));
    for (int l = 0; l < kL; ++l) {
      const double q = v[l] * static_cast<double>(multiplier[f.column_step ? j + l : 0]);
      const double least = q > low ? q : low, most = least < high ? least : high;
      out[j + l] = static_cast<T>(static_cast<int32_t>(__builtin_rint(most)) + f.zero);
    }
  }
}

// In float32, whose result within the bounds is at most 511 * 2^-24 off; where that leaves doubt
// about the rounding, again in float64.
template <class T, bool Zeros>
struct RowFinish {
  explicit RowFinish(const TileFinish& finish) : f(finish) {
    const float low = static_cast<float>((static_cast<T>(-1) < 0 ? -128 : 0) - f.zero);
    least = Set1(low), most = Set1(low + 255);
    zero = Set1(f.zero) - (Ints)Set1(kMagic);
  }
  TK_INLINE void operator()(int i, const int32_t* x, T* out) const {
    const float* multiplier = MultiplierOf(f, i);
    const Words bias = BiasOf(f, i);
    Floats factor[2] = {Set1(multiplier[0]), Set1(multiplier[0])}, rest[2];
    if (f.column_step) factor[0] = Load(multiplier), factor[1] = Load(multiplier + kL);
    TK_UNROLL
    for (int u = 0; u < 2; ++u) {
      const Ints sum = Corrected<Zeros>(f, i, x, u * kL, bias);
      Floats v = __builtin_convertvector(sum, Floats) * factor[u];
      v = v > least ? v : least;
      v = v < most ? v : most;
      const Floats moved = v + Set1(kMagic), off = v - (moved - Set1(kMagic));
      rest[u] = (Floats)((Ints)off & 0x7fffffff);
      StoreBytes(reinterpret_cast<uint8_t*>(out) + u * kL, (Ints)moved + zero);
    }
    const Floats worst = rest[0] > rest[1] ? rest[0] : rest[1];
    if (__builtin_expect(AnyAbove(worst, 0.4999f), 0)) RequantizeExactly(f, i, x, out);
  }
  static constexpr float kMagic = 0x1.8p23f;  // Adding it rounds to a whole number, the low bits.
  const TileFinish f;
  Floats least, most;
  Ints zero;
};
template <bool Zeros>
struct RowFinish<int32_t, Zeros> {
  explicit RowFinish(const TileFinish& finish) : f(finish) {}
  TK_INLINE void operator()(int i, const int32_t* x, int32_t* out) const {
    for (int j = 0; j < kTileColumns; j += kL)
      Store(out + j, Corrected<Zeros>(f, i, x, j, BiasOf(f, i)));
  }
  const TileFinish f;
};

// At most kMost bytes, which are at most 128, by two pieces that may overlap.
template <int64_t kMost>
TK_INLINE void CopyShort(char* to, const char* from, int64_t bytes) {
  const auto ends = [&](auto piece) __attribute__((always_inline)) {
    constexpr int64_t kSize = sizeof(piece);
    decltype(piece) last;
    memcpy(&piece, from, kSize);
    memcpy(&last, from + bytes - kSize, kSize);
    memcpy(to, &piece, kSize);
    memcpy(to + bytes - kSize, &last, kSize);
  };
  typedef uint8_t B16 __attribute__((vector_size(16)));
  struct B32 {
    B16 v[2];
  };
  struct B64 {
    B16 v[4];
  };
  if (kMost >= 64 && bytes >= 64) return ends(B64());
  if (kMost >= 32 && bytes >= 32) return ends(B32());
  if (kMost >= 16 && bytes >= 16) return ends(B16());
  if (bytes >= 8) return ends(uint64_t());
  if (bytes >= 4) return ends(uint32_t());
  if (bytes >= 2) return ends(uint16_t());
  if (bytes == 1) *to = *from;
}

template <class T, bool Zeros>
void FinishRows(const TileFinish& f, int rows, const int32_t* tile, const TileRun* begin,
                const TileRun* end, T* out, int64_t out_ld) {
  const RowFinish<T, Zeros> finish(f);
  if (end - begin == 1 && begin->count == kTileColumns) {
    out += begin->position;
    for (int i = 0; i < rows; ++i, tile += kTileColumns, out += out_ld) finish(i, tile, out);
    return;
  }
  T row[kTileColumns];
  for (int i = 0; i < rows; ++i, tile += kTileColumns, out += out_ld) {
    finish(i, tile, row);
    for (const TileRun* r = begin; r != end; ++r)
      CopyShort<sizeof(row)>(reinterpret_cast<char*>(out + r->position),
                             reinterpret_cast<char*>(row + r->at),
                             r->count * static_cast<int64_t>(sizeof(T)));
  }
}

template <class T>
void Finish(const TileFinish& f, int rows, const int32_t* tile, const TileRun* begin,
            const TileRun* end, void* out, int64_t out_ld) {
  if (f.columns || f.b_zero)
    FinishRows<T, true>(f, rows, tile, begin, end, static_cast<T*>(out), out_ld);
  else
    FinishRows<T, false>(f, rows, tile, begin, end, static_cast<T*>(out), out_ld);
}

// Depthwise taps by the compiler's vectors.
template <class T>
void Taps(const Int8Taps& t, const uint8_t* x, int64_t n, void* out) {
  T* to = static_cast<T*>(out);
  const auto* w = reinterpret_cast<const int8_t*>(t.weights);
  const Int8Taps taps = t;
  for (int64_t i = 0; i < n; i += kTapBlock, to += kTapBlock) {
    uint32_t sum[kTapBlock];
    for (int64_t j = 0; j < kTapBlock; ++j) sum[j] = static_cast<uint32_t>(taps.bias);
    for (int64_t k = 0; k < 4 * taps.quads; ++k) {
      if (w[k] == 0) continue;
      const auto weight = static_cast<uint32_t>(w[k]);
      const uint8_t* from = x + taps.offsets[k] + i * taps.step;
      if (taps.step == 1)
        for (int64_t j = 0; j < kTapBlock; ++j) sum[j] += weight * from[j];
      else
        for (int64_t j = 0; j < kTapBlock; ++j) sum[j] += weight * from[2 * j];
    }
    if constexpr (sizeof(T) == 4) {
      memcpy(to, sum, sizeof(sum));
    } else {
      TileFinish f;
      f.multiplier = &taps.multiplier, f.zero = taps.zero;
      const RowFinish<T, false> finish(f);
      for (int64_t j = 0; j < kTapBlock; j += kTileColumns)
        finish(0, reinterpret_cast<const int32_t*>(sum) + j, to + j);
    }
  }
}

// By dot products: a byte of each of four taps is interleaved to a lane. Lanes of sums[r] then are
// positions 4 r to 4 r + 3 of each 16, which packing to bytes brings back to order.
#if defined(__AVX512BW__)
TK_VNNI TK_INLINE __m512i EvenBytes(const uint8_t* x) {
  const __m512i low = _mm512_set1_epi16(255);
  return _mm512_packus_epi16(_mm512_and_si512(_mm512_loadu_si512(x), low),
                             _mm512_and_si512(_mm512_loadu_si512(x + 64), low));
}

template <int kStep>
TK_VNNI TK_INLINE void SumTaps(const Int8Taps& t, const uint8_t* x, __m512i (&sums)[4]) {
  TK_UNROLL
  for (int r = 0; r < 4; ++r) sums[r] = _mm512_set1_epi32(t.bias);
  for (int64_t q = 0; q < t.quads; ++q) {
    __m512i v[4];
    TK_UNROLL
    for (int s = 0; s < 4; ++s) {
      const uint8_t* at = x + t.offsets[4 * q + s];
      v[s] = kStep == 1 ? _mm512_loadu_si512(at) : EvenBytes(at);
    }
    const __m512i a = _mm512_unpacklo_epi8(v[0], v[1]), b = _mm512_unpackhi_epi8(v[0], v[1]);
    const __m512i c = _mm512_unpacklo_epi8(v[2], v[3]), d = _mm512_unpackhi_epi8(v[2], v[3]);
    const __m512i w = _mm512_set1_epi32(t.weights[q]);
    sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_unpacklo_epi16(a, c), w);
    sums[1] = _mm512_dpbusd_epi32(sums[1], _mm512_unpackhi_epi16(a, c), w);
    sums[2] = _mm512_dpbusd_epi32(sums[2], _mm512_unpacklo_epi16(b, d), w);
    sums[3] = _mm512_dpbusd_epi32(sums[3], _mm512_unpackhi_epi16(b, d), w);
  }
}

// Packing even bytes left pieces of eight positions of the two halves in turns.
template <int kStep>
TK_VNNI TK_INLINE __m512i InOrder(__m512i bytes) {
  if (kStep == 1) return bytes;
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes);
}

template <class T, int kStep>
TK_VNNI void VnniTaps(const Int8Taps& t, const uint8_t* x, int64_t n, T* out) {
  const Int8Taps taps = t;
  const __m512 factor = _mm512_set1_ps(t.multiplier), magic = _mm512_set1_ps(0x1.8p23f);
  const __m512 low = _mm512_set1_ps(t.low), high = _mm512_set1_ps(t.high);
  const __m512i zero = _mm512_set1_epi32(t.zero);
  const __m512i whole = _mm512_sub_epi32(zero, _mm512_castps_si512(magic));
  for (int64_t i = 0; i < n; i += kTapBlock, x += kTapBlock * kStep, out += kTapBlock) {
    __m512i sums[4];
    SumTaps<kStep>(taps, x, sums);
    __m512i ints[4];
    __mmask16 doubt = 0;
    TK_UNROLL
    for (int r = 0; r < 4; ++r) {
      __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r]), factor);
      v = _mm512_min_ps(_mm512_max_ps(v, low), high);
      const __m512 moved = _mm512_add_ps(v, magic);
      const __m512 rest = _mm512_sub_ps(v, _mm512_sub_ps(moved, magic));
      doubt |= _mm512_cmp_ps_mask(_mm512_abs_ps(rest), _mm512_set1_ps(0.4999f), _CMP_GT_OQ);
      ints[r] = _mm512_add_epi32(_mm512_castps_si512(moved), whole);
    }
    if (__builtin_expect(doubt != 0, 0)) {  // As RequantizeExactly.
      alignas(64) int32_t all[64];
      for (int r = 0; r < 4; ++r) _mm512_store_si512(all + 16 * r, sums[r]);
      for (int j = 0; j < 64; ++j) {
        const double q = all[j] * static_cast<double>(taps.multiplier);
        const double least = q > taps.low ? q : taps.low;
        const double most = least < taps.high ? least : taps.high;
        all[j] = static_cast<int32_t>(__builtin_rint(most)) + taps.zero;
      }
      for (int r = 0; r < 4; ++r) ints[r] = _mm512_load_si512(all + 16 * r);
    }
    const __m512i a = _mm512_packs_epi32(ints[0], ints[1]);
    const __m512i b = _mm512_packs_epi32(ints[2], ints[3]);
    const bool is_signed = static_cast<T>(-1) < 0;
    const __m512i bytes = is_signed ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b);
    _mm512_storeu_si512(out, InOrder<kStep>(bytes));
  }
}

template <class T>
TK_VNNI void VnniTapsTo(const Int8Taps& t, const uint8_t* x, int64_t n, void* out) {
  if (t.step == 1)
    VnniTaps<T, 1>(t, x, n, static_cast<T*>(out));
  else
    VnniTaps<T, 2>(t, x, n, static_cast<T*>(out));
}

template <int kStep>
TK_VNNI void VnniSums(const Int8Taps& t, const uint8_t* x, int64_t n, int32_t* out) {
  const Int8Taps taps = t;
  for (int64_t i = 0; i < n; i += kTapBlock, x += kTapBlock * kStep, out += kTapBlock) {
    __m512i s[4];
    SumTaps<kStep>(taps, x, s);
    // Four sums of each 16 positions, whose places are those of the bytes they come from.
    for (int r = 0; r < 4; ++r)
      for (int l = 0; l < 4; ++l) {
        const int piece = 2 * l + r / 2;  // Of eight positions.
        const int place = kStep == 1 ? piece : piece % 2 * 4 + piece / 2;
        const __m128i four = l == 0   ? _mm512_extracti32x4_epi32(s[r], 0)
                             : l == 1 ? _mm512_extracti32x4_epi32(s[r], 1)
                             : l == 2 ? _mm512_extracti32x4_epi32(s[r], 2)
                                      : _mm512_extracti32x4_epi32(s[r], 3);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8 * place + r % 2 * 4), four);
      }
  }
}

TK_VNNI void VnniTapsToInt32(const Int8Taps& t, const uint8_t* x, int64_t n, void* out) {
  if (t.step == 1)
    VnniSums<1>(t, x, n, static_cast<int32_t*>(out));
  else
    VnniSums<2>(t, x, n, static_cast<int32_t*>(out));
}
#endif

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
  table.taps_to_int32 = Taps<int32_t>;
  table.taps_to_int8 = Taps<int8_t>, table.taps_to_uint8 = Taps<uint8_t>;
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
  table.taps_to_int32 = VnniTapsToInt32;
  table.taps_to_int8 = VnniTapsTo<int8_t>, table.taps_to_uint8 = VnniTapsTo<uint8_t>;
  return table;
}
#else
constexpr Int8Kernels Vnni() { return {}; }
#endif

}  // namespace

extern const Int8Table int8_table = {Plain(),         Vnni(),          Finish<int32_t>,
                                     Finish<int8_t>,  Finish<uint8_t>, Gather<uint16_t>,
                                     Gather<uint32_t>};

}  // namespace toolkit::TOOLKIT_ISA_NS
