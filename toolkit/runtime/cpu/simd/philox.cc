#include "simd/philox.h"

#include "simd/vec.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

using V = Vec<uint64_t>;  // One 32-bit word a lane, in the low half; the high half is arbitrary.
constexpr int kL = kLanes<uint64_t>;
constexpr int kUnroll = kVectorRegisters / 8;  // Vectors of blocks in flight.
constexpr uint64_t kLow = 0xffffffffu;
constexpr uint32_t kMultiplier0 = 0xd2511f53, kMultiplier1 = 0xcd9e8d57;
constexpr uint32_t kWeyl0 = 0x9e3779b9, kWeyl1 = 0xbb67ae85;

// The 64-bit products of the low halves.
TK_INLINE V Multiply(V a, V b) {
#if defined(__AVX512F__)
  return (V)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (V)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
  return (V)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
  return (V)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
  return (a & kLow) * (b & kLow);
#endif
}

// kUnroll * kL consecutive blocks, stored in order.
TK_INLINE void Blocks(uint32_t* out, uint64_t block, uint64_t offset, uint64_t key) {
  const V m0 = Set1<uint64_t>(kMultiplier0), m1 = Set1<uint64_t>(kMultiplier1);
  V c0[kUnroll], c1[kUnroll], c2[kUnroll], c3[kUnroll];
#pragma GCC unroll 4
  for (int u = 0; u < kUnroll; ++u) {
    V b;
    for (int l = 0; l < kL; ++l) b[l] = block + static_cast<uint64_t>(u * kL + l);
    c0[u] = b;
    c1[u] = b >> 32;
    c2[u] = Set1<uint64_t>(offset);
    c3[u] = Set1<uint64_t>(offset >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const V key0 = Set1<uint64_t>(k0), key1 = Set1<uint64_t>(k1);
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      const V p0 = Multiply(c0[u], m0), p1 = Multiply(c2[u], m1);
      c0[u] = (p1 >> 32) ^ c1[u] ^ key0;
      c1[u] = p1;
      c2[u] = (p0 >> 32) ^ c3[u] ^ key1;
      c3[u] = p0;
    }
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
#pragma GCC unroll 4
  for (int u = 0; u < kUnroll; ++u) {
    const V w01 = (c0[u] & kLow) | (c1[u] << 32), w23 = (c2[u] & kLow) | (c3[u] << 32);
    uint64_t* to = reinterpret_cast<uint64_t*>(out) + u * 2 * kL;
#if defined(__AVX512F__)
    Store(to, (V)__builtin_shufflevector(w01, w23, 0, 8, 1, 9, 2, 10, 3, 11));
    Store(to + kL, (V)__builtin_shufflevector(w01, w23, 4, 12, 5, 13, 6, 14, 7, 15));
#elif defined(__AVX2__)
    Store(to, (V)__builtin_shufflevector(w01, w23, 0, 4, 1, 5));
    Store(to + kL, (V)__builtin_shufflevector(w01, w23, 2, 6, 3, 7));
#else
    Store(to, (V)__builtin_shufflevector(w01, w23, 0, 2));
    Store(to + kL, (V)__builtin_shufflevector(w01, w23, 1, 3));
#endif
  }
}

void Words(uint32_t* out, int64_t blocks, uint64_t block, uint64_t offset, uint64_t key) {
  constexpr int kStep = kUnroll * kL;
  for (; blocks >= kStep; blocks -= kStep, block += kStep, out += 4 * kStep)
    Blocks(out, block, offset, key);
  if (blocks > 0) {
    uint32_t rest[4 * kStep];
    Blocks(rest, block, offset, key);
    memcpy(out, rest, static_cast<size_t>(blocks) * 16);
  }
}

void UniformF32(float* y, const uint32_t* w, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<float>(static_cast<int32_t>(w[i] >> 8)) * 0x1p-24f;
}

void UniformF64(double* y, const uint32_t* w, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    // 53 bits: 32 of the first word, 21 of the second; both parts and the sum are exact.
    const double high = static_cast<double>(static_cast<int32_t>(w[2 * i] >> 1)) * 0x1p-31;
    const uint32_t low = (w[2 * i] & 1) << 21 | w[2 * i + 1] >> 11;
    y[i] = high + static_cast<double>(static_cast<int32_t>(low)) * 0x1p-53;
  }
}

template <class T>
void Dropout(T* y, uint8_t* mask, const T* x, const uint32_t* w, int64_t n, int32_t threshold,
             T scale) {
  for (int64_t i = 0; i < n; ++i) {
    const bool keep = static_cast<int32_t>(w[i] >> 8) >= threshold;
    y[i] = x[i] * (keep ? scale : T(0));
    mask[i] = keep;
  }
}

}  // namespace

extern const PhiloxTable philox_table = {Words, UniformF32, UniformF64, Dropout<float>,
                                         Dropout<double>};

}  // namespace toolkit::TOOLKIT_ISA_NS
