#include "simd/linalg.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T>
TK_INLINE T Total(Vec<T> v) {
  T sum = 0;
  for (int i = 0; i < kLanes<T>; ++i) sum += v[i];
  return sum;
}

// `Rows` dot products with one x at once.
template <class T, int Rows>
TK_INLINE void Dots(const T* a, int64_t ld, int64_t n, const T* x, T* y) {
  constexpr int lanes = kLanes<T>;
  Vec<T> sums[Rows][2] = {};
  int64_t j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) {
    const Vec<T> x0 = Load(x + j), x1 = Load(x + j + lanes);
    for (int r = 0; r < Rows; ++r) {
      sums[r][0] += Load(a + r * ld + j) * x0;
      sums[r][1] += Load(a + r * ld + j + lanes) * x1;
    }
  }
  for (int r = 0; r < Rows; ++r) {
    T sum = Total<T>(sums[r][0] + sums[r][1]);
    for (int64_t k = j; k < n; ++k) sum += a[r * ld + k] * x[k];
    y[r] = sum;
  }
}

template <class T>
T Dot(const T* x, const T* y, int64_t n) {
  T sum;
  Dots<T, 1>(x, 0, n, y, &sum);
  return sum;
}

template <class T>
void Axpy(T a, const T* x, T* y, int64_t n) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// By the half angle where c > 0 (Rutishauser 1966): for small angles c rounds to 1, and x + s y
// would lengthen every time.
template <class T>
void Rotate(T* x, T* y, int64_t n, T c, T s) {
  if (c > 0) {
    const T half = s / (1 + c);
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) {
      const T u = x[i], v = y[i];
      x[i] = u + s * (v - half * u);
      y[i] = v - s * (u + half * v);
    }
    return;
  }
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T u = x[i], v = y[i];
    x[i] = c * u + s * v;
    y[i] = c * v - s * u;
  }
}

template <class T>
void Gemv(const T* a, int64_t ld, int64_t m, int64_t n, const T* x, T* y) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) Dots<T, 4>(a + i * ld, ld, n, x, y + i);
  for (; i < m; ++i) Dots<T, 1>(a + i * ld, ld, n, x, y + i);
}

template <class T>
void GemvT(const T* a, int64_t ld, int64_t m, int64_t n, const T* x, T* y) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) {
    const T *r0 = a + i * ld, *r1 = r0 + ld, *r2 = r1 + ld, *r3 = r2 + ld;
    const T x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
    TK_IVDEP
    for (int64_t j = 0; j < n; ++j) y[j] += (x0 * r0[j] + x1 * r1[j]) + (x2 * r2[j] + x3 * r3[j]);
  }
  for (; i < m; ++i) Axpy(x[i], a + i * ld, y, n);
}

template <class T>
void Ger(T* a, int64_t ld, int64_t m, int64_t n, const T* x, const T* y) {
  for (int64_t i = 0; i < m; ++i) Axpy(x[i], y, a + i * ld, n);
}

}  // namespace

extern const LinalgTable linalg_table = {
    {Dot<float>, Axpy<float>, Rotate<float>, Gemv<float>, GemvT<float>, Ger<float>},
    {Dot<double>, Axpy<double>, Rotate<double>, Gemv<double>, GemvT<double>, Ger<double>},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
