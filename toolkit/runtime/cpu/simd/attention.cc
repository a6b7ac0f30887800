// Rows of attention scores and rotary embeddings, by vectors; see simd/attention.h.
#include "simd/attention.h"

#include "simd/exp_rows.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

TK_INLINE F32 VTanh(F32 x) { return Tanh(x); }
TK_INLINE F64 VTanh(F64 x) {
  for (int k = 0; k < kLanes<double>; ++k) x[k] = tanh(x[k]);
  return x;
}

template <class T>
void Softcap(T* s, int64_t n, T cap) {
  const T inverse = T(1) / cap;
  MapVectors(s, s, n, [=](Vec<T> v) TK_LAMBDA_INLINE { return VTanh(v * inverse) * cap; });
}

template <class T>
void Add(T* s, const T* bias, int64_t n) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) s[i] += bias[i];
}

template <class T>
void Mask(T* s, const uint8_t* keep, int64_t n) {
  const T low = -static_cast<T>(kInfinity);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) s[i] = keep[i] ? s[i] : low;
}

template <class T>
T Max(const T* s, int64_t n) {
  return RowMax(s, n);
}

template <class T>
T ExpSumInPlace(T* s, int64_t n, T shift) {
  return ExpSum<T, true>(s, s, n, shift);
}

template <class T>
void Scale(T* y, const T* x, int64_t n, T factor) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factor;
}

template <class T>
T Dot(const T* x, const T* y, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> a = {};
  int64_t i = 0;
  for (; i + L <= n; i += L) a += Load(x + i) * Load(y + i);
  if (i < n) a += LoadPart(x + i, n - i) * LoadPart(y + i, n - i);
  return static_cast<T>(SumLanes<T>(a));
}

template <class T>
void SoftmaxGrad(T* g, const T* p, int64_t n, T delta) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) g[i] = p[i] * (g[i] - delta);
}

template <class T>
void SoftcapGrad(T* g, const T* z, int64_t n, T cap) {
  const T inverse = T(1) / cap;
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T t = z[i] * inverse;
    g[i] *= T(1) - t * t;
  }
}

template <class T>
void RotateHalves(T* y, const T* x, const T* cos, const T* sin, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const T a = x[i], b = x[n + i];
    y[i] = cos[i] * a - sin[i] * b;
    y[n + i] = sin[i] * a + cos[i] * b;
  }
}

template <class T>
void RotateNeighbours(T* y, const T* x, const T* cos, const T* sin, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const T a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = cos[i] * a - sin[i] * b;
    y[2 * i + 1] = sin[i] * a + cos[i] * b;
  }
}

}  // namespace

#define TK_ATTENTION(T)                                                 \
  {Softcap<T>, Add<T>, Mask<T>,        Max<T>,        ExpSumInPlace<T>, \
   Scale<T>,   Dot<T>, SoftmaxGrad<T>, SoftcapGrad<T>}
extern const AttentionTable attention_table = {TK_ATTENTION(float),
                                               TK_ATTENTION(double),
                                               {RotateHalves<float>, RotateNeighbours<float>},
                                               {RotateHalves<double>, RotateNeighbours<double>}};

}  // namespace toolkit::TOOLKIT_ISA_NS
