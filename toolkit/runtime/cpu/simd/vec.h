// Fixed-width vectors by the compilers' vector extensions, one width per instruction set.
// For simd/*.cc only. Those files include C headers and simd/ headers, nothing of std: an inline
// std function compiled with AVX-512 could become the copy that the linker keeps for everyone.
#pragma once

#include <stdint.h>
#include <string.h>

#if !defined(TOOLKIT_ISA_NS)
#error "simd/vec.h is for files that are compiled once per instruction set"
#endif

namespace toolkit::TOOLKIT_ISA_NS {
namespace {  // Internal linkage: nothing here may be shared between instruction sets.

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kVectorRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kVectorRegisters = 16;
#else
constexpr int kVectorBytes = 16;
#if defined(__aarch64__)
constexpr int kVectorRegisters = 32;
#else
constexpr int kVectorRegisters = 16;
#endif
#endif

#define TK_INLINE inline __attribute__((always_inline))

// Before a loop whose outputs may be its inputs, element for element: no check for overlap, which
// would send every in-place call to scalar code.
#if defined(__clang__)
#define TK_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define TK_IVDEP _Pragma("GCC ivdep")
#endif

template <class T, int Lanes>
struct VecOf {
  typedef T type __attribute__((vector_size(sizeof(T) * Lanes)));
};
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T>
using Vec = typename VecOf<T, kLanes<T>>::type;

template <class T>
TK_INLINE Vec<T> Load(const T* p) {
  Vec<T> v;
  memcpy(&v, p, sizeof(v));
  return v;
}
template <class T>
TK_INLINE void Store(T* p, Vec<T> v) {
  memcpy(p, &v, sizeof(v));
}
template <class T>
TK_INLINE Vec<T> Set1(T x) {
  return x - Vec<T>{};  // Broadcasts; x - 0 keeps every bit, -0 included.
}

TK_INLINE float AsFloat(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
TK_INLINE uint32_t AsBits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

}  // namespace
}  // namespace toolkit::TOOLKIT_ISA_NS
