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

// Decoding reads keys and values once: what comes next is asked for.
constexpr int64_t kAhead = 2048;

template <class T>
TK_INLINE void Ahead(const T* row, int64_t size) {
  const char* at = reinterpret_cast<const char*>(row) + kAhead;
  for (int64_t b = 0; b < size * static_cast<int64_t>(sizeof(T)); b += 64)
    __builtin_prefetch(at + b);
}

// Sums of the lanes of four vectors.
template <class T, int Lanes>
TK_INLINE void SumLanesOfFour(typename VecOf<T, Lanes>::type (&v)[4], T* sums) {
  if constexpr (Lanes > 4) {
    using Half = typename VecOf<T, Lanes / 2>::type;
    Half h[4];
    for (int i = 0; i < 4; ++i) {
      Half parts[2];
      memcpy(parts, &v[i], sizeof(parts));
      h[i] = parts[0] + parts[1];
    }
    SumLanesOfFour<T, Lanes / 2>(h, sums);
  } else if constexpr (Lanes == 4) {
    using Four = typename VecOf<T, 4>::type;
    const Four a = __builtin_shufflevector(v[0], v[1], 0, 4, 2, 6) +
                   __builtin_shufflevector(v[0], v[1], 1, 5, 3, 7);
    const Four b = __builtin_shufflevector(v[2], v[3], 0, 4, 2, 6) +
                   __builtin_shufflevector(v[2], v[3], 1, 5, 3, 7);
    const Four sum =
        __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    memcpy(sums, &sum, sizeof(sum));
  } else {
    for (int i = 0; i < 4; ++i) sums[i] = v[i][0] + v[i][1];
  }
}

template <class T>
void Scores(T* s, const T* q, const T* k, int64_t ld, int64_t size, int64_t n) {
  constexpr int L = kLanes<T>;
  const int64_t whole = size / L * L;
  int64_t j = 0;
  for (; j + 4 <= n; j += 4, k += 4 * ld) {
    Vec<T> a[4] = {};
    for (int r = 0; r < 4; ++r) Ahead(k + r * ld, size);
    for (int64_t i = 0; i < whole; i += L) {
      const Vec<T> x = Load(q + i);
      for (int r = 0; r < 4; ++r) a[r] += x * Load(k + r * ld + i);
    }
    if (whole < size) {
      const Vec<T> x = LoadPart(q + whole, size - whole);
      for (int r = 0; r < 4; ++r) a[r] += x * LoadPart(k + r * ld + whole, size - whole);
    }
    SumLanesOfFour<T, L>(a, s + j);
  }
  for (; j < n; ++j, k += ld) s[j] = Dot(q, k, size);
}

// `Vectors` of y's columns, in registers over all keys.
template <class T, int Vectors>
TK_INLINE void WeighColumns(T* y, const T* p, const T* v, int64_t ld, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> even[Vectors], odd[Vectors] = {};
  for (int u = 0; u < Vectors; ++u) even[u] = Load(y + u * L);
  int64_t j = 0;
  for (; j + 2 <= n; j += 2, v += 2 * ld) {
    Ahead(v, Vectors * L), Ahead(v + ld, Vectors * L);
    const Vec<T> p0 = Set1(p[j]), p1 = Set1(p[j + 1]);
    for (int u = 0; u < Vectors; ++u) {
      even[u] += p0 * Load(v + u * L);
      odd[u] += p1 * Load(v + ld + u * L);
    }
  }
  for (; j < n; ++j, v += ld)
    for (int u = 0; u < Vectors; ++u) even[u] += Set1(p[j]) * Load(v + u * L);
  for (int u = 0; u < Vectors; ++u) Store(y + u * L, even[u] + odd[u]);
}

template <class T>
void Weigh(T* y, const T* p, const T* v, int64_t ld, int64_t size, int64_t n) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + 4 * L <= size; i += 4 * L) WeighColumns<T, 4>(y + i, p, v + i, ld, n);
  for (; i + L <= size; i += L) WeighColumns<T, 1>(y + i, p, v + i, ld, n);
  for (; i < size; ++i) {
    T sum = y[i];
    for (int64_t j = 0; j < n; ++j) sum += p[j] * v[j * ld + i];
    y[i] = sum;
  }
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

#define TK_ATTENTION(T)                                                         \
  {Softcap<T>, Add<T>,    Mask<T>,  Max<T>,         ExpSumInPlace<T>, Scale<T>, \
   Dot<T>,     Scores<T>, Weigh<T>, SoftmaxGrad<T>, SoftcapGrad<T>}
extern const AttentionTable attention_table = {TK_ATTENTION(float),
                                               TK_ATTENTION(double),
                                               {RotateHalves<float>, RotateNeighbours<float>},
                                               {RotateHalves<double>, RotateNeighbours<double>}};

}  // namespace toolkit::TOOLKIT_ISA_NS
