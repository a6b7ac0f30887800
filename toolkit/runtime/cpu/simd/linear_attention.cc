// Steps over a block of a state's columns, which stay in registers where they are summed.
#include "simd/linear_attention.h"

#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 16")

template <class T>
constexpr int kParts = kStateColumns / kLanes<T>;

template <class T>
void Recall(T* state, int64_t d, const T* decay, int64_t decay_step, const T* k, T* r) {
  constexpr int L = kLanes<T>, P = kParts<T>;
  Vec<T> sum[P] = {};
  for (int64_t i = 0; i < d; ++i, state += kStateColumns) {
    const T factor = decay ? decay[i * decay_step] : T(1), key = k ? k[i] : T(0);
    TK_UNROLL
    for (int p = 0; p < P; ++p) {
      Vec<T> s = Load(state + p * L);
      if (decay) {
        s *= Set1(factor);
        Store(state + p * L, s);
      }
      sum[p] += s * Set1(key);
    }
  }
  if (!k) return;
  TK_UNROLL
  for (int p = 0; p < P; ++p) Store(r + p * L, sum[p]);
}

template <class T>
void Write(T* state, int64_t d, const T* k, const T* v) {
  constexpr int L = kLanes<T>, P = kParts<T>;
  Vec<T> value[P];
  TK_UNROLL
  for (int p = 0; p < P; ++p) value[p] = Load(v + p * L);
  for (int64_t i = 0; i < d; ++i, state += kStateColumns) {
    const Vec<T> key = Set1(k[i]);
    TK_UNROLL
    for (int p = 0; p < P; ++p) Store(state + p * L, Load(state + p * L) + key * value[p]);
  }
}

template <class T>
void Read(const T* state, int64_t d, const T* q, T scale, T* o) {
  constexpr int L = kLanes<T>, P = kParts<T>;
  Vec<T> sum[P] = {};
  for (int64_t i = 0; i < d; ++i, state += kStateColumns) {
    const Vec<T> query = Set1(q[i]);
    TK_UNROLL
    for (int p = 0; p < P; ++p) sum[p] += query * Load(state + p * L);
  }
  TK_UNROLL
  for (int p = 0; p < P; ++p) Store(o + p * L, sum[p] * Set1(scale));
}

template <class T>
void Convolve(T* y, const T* x, int64_t n, const T* w, int64_t k, T bias) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    Vec<T> a = Set1(bias), b = a;
    for (int64_t j = 0; j < k; ++j) {
      const Vec<T> weight = Set1(w[j]);
      a += weight * Load(x + i + j);
      b += weight * Load(x + i + j + L);
    }
    Store(y + i, a);
    Store(y + i + L, b);
  }
  for (; i < n; ++i) {
    T sum = bias;
    for (int64_t j = 0; j < k; ++j) sum += w[j] * x[i + j];
    y[i] = sum;
  }
}

template <class T>
void Axpy(T* y, const T* x, int64_t n, T a) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
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

}  // namespace

#define TK_STATE(T) {Recall<T>, Write<T>, Read<T>, Convolve<T>, Axpy<T>, Dot<T>}
extern const StateTable state_table = {TK_STATE(float), TK_STATE(double)};

}  // namespace toolkit::TOOLKIT_ISA_NS
