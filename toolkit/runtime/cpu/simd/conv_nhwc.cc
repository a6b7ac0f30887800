// Micro-kernels of integer convolutions, channels last; see simd/conv_nhwc.h for the contract.
#include "simd/conv_nhwc.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")
#define TK_VNNI __attribute__((target("avx512vnni")))

// In float64, where nothing but the multiplier is inexact.
TK_INLINE uint8_t Exactly(int32_t sum, float multiplier, int32_t zero) {
  const double low = -static_cast<double>(zero), high = low + 255;
  const double q = sum * static_cast<double>(multiplier);
  const double least = q > low ? q : low, most = least < high ? least : high;
  return static_cast<uint8_t>(static_cast<int32_t>(__builtin_rint(most)) + zero);
}

// Loops for the compiler, of `kWidth` lanes.
template <int kWidth>
TK_INLINE void FinishLanes(const uint32_t* sum, const NhwcFinish& f, uint8_t* out) {
  for (int j = 0; j < kWidth; ++j)
    out[j] = Exactly(static_cast<int32_t>(sum[j]), f.multiplier[j], f.zero);
}

template <int Rows>
void PlainTile(const uint8_t* const* x, int64_t taps, int64_t groups, const int8_t* w,
               const NhwcFinish& f) {
  uint32_t sum[Rows][kNhwcColumns];
  for (int i = 0; i < Rows; ++i) memcpy(sum[i], f.init, sizeof(sum[i]));
  for (int64_t t = 0; t < taps; ++t, x += Rows)
    for (int64_t g = 0; g < groups; ++g, w += 4 * kNhwcColumns)
      for (int i = 0; i < Rows; ++i) {
        const uint8_t* quad = x[i] + 4 * g;
        const int32_t a = quad[0], b = quad[1], c = quad[2], d = quad[3];
        for (int j = 0; j < kNhwcColumns; ++j)
          sum[i][j] += static_cast<uint32_t>(a * w[4 * j] + b * w[4 * j + 1] + c * w[4 * j + 2] +
                                             d * w[4 * j + 3]);
      }
  for (int i = 0; i < Rows; ++i) {
    uint8_t row[kNhwcColumns];
    FinishLanes<kNhwcColumns>(sum[i], f, row);
    memcpy(f.out + i * f.out_ld, row, static_cast<size_t>(f.columns));
  }
}

void PlainDepthwise(const uint8_t* const* x, int64_t n, int64_t quads, int64_t at, const int8_t* w,
                    const NhwcFinish& f) {
  for (int64_t i = 0; i < n; ++i, x += 4 * quads) {
    uint32_t sum[kNhwcBlock];
    uint8_t row[kNhwcBlock];
    memcpy(sum, f.init, sizeof(sum));
    for (int64_t t = 0; t < 4 * quads; ++t)
      for (int l = 0; l < kNhwcBlock; ++l) {
        const int channel = NhwcLane(l);
        if (channel < f.columns)
          sum[l] +=
              static_cast<uint32_t>(x[t][at + channel] * w[(t / 4 * kNhwcBlock + l) * 4 + t % 4]);
      }
    FinishLanes<kNhwcBlock>(sum, f, row);
    for (int l = 0; l < kNhwcBlock; ++l)
      if (NhwcLane(l) < f.columns) f.out[i * f.out_ld + NhwcLane(l)] = row[l];
  }
}

#if defined(__AVX512BW__)
// Rounds in float32, whose result within the bounds is at most 511 * 2^-24 off: where `rest`, what
// rounding took away, is near a half, it may be another number than in float64.
struct Rounding {
  explicit Rounding(int32_t z)
      : low(_mm512_set1_ps(static_cast<float>(-z))),
        high(_mm512_set1_ps(static_cast<float>(255 - z))),
        zero(_mm512_set1_epi32(z)) {}
  TK_INLINE __m512i operator()(__m512i sum, __m512 factor, __m512& rest) const {
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor);
    v = _mm512_min_ps(_mm512_max_ps(v, low), high);
    rest = _mm512_reduce_ps(v, 0);  // v less its nearest whole number.
    return _mm512_add_epi32(_mm512_cvtps_epi32(v), zero);
  }
  const __m512 low, high;
  const __m512i zero;
};

// Of two remainders the one with the larger absolute value, and whether any is near a half.
TK_INLINE __m512 Larger(__m512 a, __m512 b) { return _mm512_range_ps(a, b, 0xB); }
TK_INLINE bool InDoubt(__m512 rest) {
  return _mm512_cmp_ps_mask(rest, _mm512_set1_ps(0.4999f), _CMP_GT_OQ) != 0;
}

__attribute__((noinline)) __m512i RoundExactly(__m512i sum, __m512 factor, int32_t zero) {
  alignas(64) int32_t v[16];
  alignas(64) float m[16];
  _mm512_store_si512(v, sum);
  _mm512_store_ps(m, factor);
  for (int j = 0; j < 16; ++j) v[j] = Exactly(v[j], m[j], zero);
  return _mm512_load_si512(v);
}

// Four vectors of a pair of rows to bytes: packing works within quarters, which are put in order.
TK_INLINE __m512i PackPair(const __m512i (&v)[4]) {
  const __m512i a = _mm512_packs_epi32(v[0], v[1]), b = _mm512_packs_epi32(v[2], v[3]);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(a, b));
}

__attribute__((noinline)) void FinishRows(const int32_t* sums, int rows, const NhwcFinish& f) {
  const Rounding round(f.zero);
  const __m512 m[2] = {_mm512_loadu_ps(f.multiplier), _mm512_loadu_ps(f.multiplier + 16)};
  const auto mask = static_cast<__mmask32>((1ull << f.columns) - 1);
  uint8_t* out = f.out;
  for (int i = 0; i < rows; i += 2, sums += 2 * kNhwcColumns, out += 2 * f.out_ld) {
    __m512i v[4];
    __m512 rest[4];
    TK_UNROLL
    for (int u = 0; u < 4; ++u) v[u] = round(_mm512_load_si512(sums + 16 * u), m[u % 2], rest[u]);
    if (__builtin_expect(InDoubt(Larger(Larger(rest[0], rest[1]), Larger(rest[2], rest[3]))), 0))
      for (int u = 0; u < 4; ++u)
        v[u] = RoundExactly(_mm512_load_si512(sums + 16 * u), m[u % 2], f.zero);
    const __m512i bytes = PackPair(v);
    _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(bytes));
    if (i + 1 < rows)
      _mm256_mask_storeu_epi8(out + f.out_ld, mask, _mm512_extracti64x4_epi64(bytes, 1));
  }
}

template <int Rows>
TK_VNNI void VnniTile(const uint8_t* const* x, int64_t taps, int64_t groups, const int8_t* w,
                      const NhwcFinish& f) {
  __m512i acc[Rows][2];
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    acc[i][0] = _mm512_loadu_si512(f.init);
    acc[i][1] = _mm512_loadu_si512(f.init + 16);
  }
  for (int64_t t = 0; t < taps; ++t, x += Rows)
    for (int64_t g = 0; g < groups; ++g, w += 4 * kNhwcColumns) {
      const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
      TK_UNROLL
      for (int i = 0; i < Rows; ++i) {
        int32_t quad;
        memcpy(&quad, x[i] + 4 * g, 4);
        const __m512i v = _mm512_set1_epi32(quad);
        acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], v, w0);
        acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], v, w1);
      }
    }
  alignas(64) int32_t sums[Rows + 1][kNhwcColumns];  // By memory: their registers are others' then.
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    _mm512_store_si512(sums[i], acc[i][0]);
    _mm512_store_si512(sums[i] + 16, acc[i][1]);
  }
  if (Rows % 2) memset(sums[Rows], 0, sizeof(sums[Rows]));
  FinishRows(sums[0], Rows, f);
}

// Bytes of a block under a tap: of one position, or where it has at most 32 channels, of two.
template <bool kPair>
TK_INLINE __m512i LoadTap(const uint8_t* x, const uint8_t* next, __mmask64 mask) {
  if (!kPair) return _mm512_maskz_loadu_epi8(mask, x);
  const auto half = static_cast<__mmask32>(mask);
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(half, x)),
                            _mm256_maskz_loadu_epi8(half, next), 1);
}

// Four bytes of as many taps are interleaved to a lane; packing to bytes brings them to order.
template <int kQuads, bool kPair>
TK_VNNI TK_INLINE void VnniTaps(const uint8_t* const* x, int64_t n, int64_t quads, int64_t at,
                                const int8_t* w, const NhwcFinish& f) {
  const Rounding round(f.zero);
  const __mmask64 mask = f.columns == 64 ? ~0ull : (1ull << f.columns) - 1;
  const int64_t count = kQuads ? kQuads : quads, step = kPair ? 2 : 1;
  uint8_t* out = f.out;
  for (int64_t i = 0; i < n; i += step, x += step * 4 * count, out += step * f.out_ld) {
    const bool two = kPair && i + 1 < n;
    const uint8_t* const* other = two ? x + 4 * count : x;
    __m512i sums[4];
    TK_UNROLL
    for (int r = 0; r < 4; ++r) sums[r] = _mm512_loadu_si512(f.init + 16 * r);
    const auto add = [&](int64_t q) __attribute__((always_inline, target("avx512vnni"))) {
      __m512i v[4];
      TK_UNROLL
      for (int s = 0; s < 4; ++s)
        v[s] = LoadTap<kPair>(x[4 * q + s] + at, other[4 * q + s] + at, mask);
      const __m512i a = _mm512_unpacklo_epi8(v[0], v[1]), b = _mm512_unpackhi_epi8(v[0], v[1]);
      const __m512i c = _mm512_unpacklo_epi8(v[2], v[3]), d = _mm512_unpackhi_epi8(v[2], v[3]);
      const __m512i lanes[4] = {_mm512_unpacklo_epi16(a, c), _mm512_unpackhi_epi16(a, c),
                                _mm512_unpacklo_epi16(b, d), _mm512_unpackhi_epi16(b, d)};
      TK_UNROLL
      for (int r = 0; r < 4; ++r)
        sums[r] = _mm512_dpbusd_epi32(sums[r], lanes[r], _mm512_loadu_si512(w + 256 * q + 64 * r));
    };
    if (kQuads == 3) {
      add(0), add(1), add(2);
    } else {
      for (int64_t q = 0; q < count; ++q) add(q);
    }
    __m512i ints[4];
    __m512 rest[4];
    TK_UNROLL
    for (int r = 0; r < 4; ++r)
      ints[r] = round(sums[r], _mm512_loadu_ps(f.multiplier + 16 * r), rest[r]);
    if (__builtin_expect(InDoubt(Larger(Larger(rest[0], rest[1]), Larger(rest[2], rest[3]))), 0))
      for (int r = 0; r < 4; ++r)
        ints[r] = RoundExactly(sums[r], _mm512_loadu_ps(f.multiplier + 16 * r), f.zero);
    const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(ints[0], ints[1]),
                                              _mm512_packs_epi32(ints[2], ints[3]));
    if (!kPair) {
      _mm512_mask_storeu_epi8(out, mask, bytes);
      continue;
    }
    const auto half = static_cast<__mmask32>(mask);
    _mm256_mask_storeu_epi8(out, half, _mm512_castsi512_si256(bytes));
    if (two) _mm256_mask_storeu_epi8(out + f.out_ld, half, _mm512_extracti64x4_epi64(bytes, 1));
  }
}

TK_VNNI void VnniDepthwise(const uint8_t* const* x, int64_t n, int64_t quads, int64_t at,
                           const int8_t* w, const NhwcFinish& f) {
  if (quads == 3)
    f.columns <= 32 ? VnniTaps<3, true>(x, n, quads, at, w, f)
                    : VnniTaps<3, false>(x, n, quads, at, w, f);
  else
    f.columns <= 32 ? VnniTaps<0, true>(x, n, quads, at, w, f)
                    : VnniTaps<0, false>(x, n, quads, at, w, f);
}

template <int kRows, int kRow = 1>
constexpr void FillVnni(NhwcKernels& table) {
  if constexpr (kRow <= kRows) {
    table.tile[kRow] = VnniTile<kRow>;
    FillVnni<kRows, kRow + 1>(table);
  }
}
constexpr NhwcKernels Vnni() {
  NhwcKernels table = {};
  table.mr = kMaxNhwcRows, table.depthwise = VnniDepthwise;
  FillVnni<kMaxNhwcRows>(table);
  return table;
}
#else
constexpr NhwcKernels Vnni() { return {}; }
#endif

constexpr NhwcKernels Plain() {
  NhwcKernels table = {};
  table.mr = 2, table.depthwise = PlainDepthwise;
  table.tile[1] = PlainTile<1>, table.tile[2] = PlainTile<2>;
  return table;
}

}  // namespace

extern const NhwcTable nhwc_table = {Plain(), Vnni()};

}  // namespace toolkit::TOOLKIT_ISA_NS
