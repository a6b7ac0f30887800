// Softmax over rows: three passes in cache (maximum, exp and sum, scale). Over columns: the same
// passes on tiles of columns. float32 by vectors of math.h, float64 by the C library.
#include "simd/softmax.h"

#include "simd/math.h"
#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

using F64 = Vec<double>;
TK_INLINE F32 VExp(F32 x) { return Exp(x); }
TK_INLINE F32 VExpDown(F32 x) { return ExpNonPositive(x); }  // x <= 0.
TK_INLINE F64 VExp(F64 x) {
  for (int k = 0; k < kLanes<double>; ++k) x[k] = exp(x[k]);
  return x;
}
TK_INLINE F64 VExpDown(F64 x) { return VExp(x); }
TK_INLINE float SLog(float x) { return logf(x); }
TK_INLINE double SLog(double x) { return log(x); }
TK_INLINE F32 VLog(F32 x) { return Log(x); }
TK_INLINE F64 VLog(F64 x) {
  for (int k = 0; k < kLanes<double>; ++k) x[k] = log(x[k]);
  return x;
}

template <class T>
TK_INLINE Vec<T> Filled(const T* p, int64_t n, T fill) {
  T part[kLanes<T>];
  for (int k = 0; k < kLanes<T>; ++k) part[k] = fill;
  memcpy(part, p, static_cast<size_t>(n) * sizeof(T));
  return Load(part);
}
template <class T>
TK_INLINE Vec<T> MaxNaN(Vec<T> a, Vec<T> x) {
  return ((x > a) | (x != x)) ? x : a;
}

template <class T>
T RowMax(const T* x, int64_t n) {
  constexpr int L = kLanes<T>;
  const T low = -static_cast<T>(kInfinity);
  Vec<T> a = Vec<T>{} + low, b = a;
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    a = MaxNaN<T>(a, Load(x + i));
    b = MaxNaN<T>(b, Load(x + i + L));
  }
  for (; i + L <= n; i += L) a = MaxNaN<T>(a, Load(x + i));
  if (i < n) b = MaxNaN<T>(b, Filled(x + i, n - i, low));
  a = MaxNaN<T>(a, b);
  T m = a[0];
  for (int k = 1; k < L; ++k) m = a[k] > m || a[k] != a[k] ? a[k] : m;
  return m;
}

// Sum of exp(x - shift); kStore: the terms go to y.
template <class T, bool kStore>
T ExpSum(T* y, const T* x, int64_t n, T shift) {
  constexpr int L = kLanes<T>;
  Vec<T> a = {}, b = {};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const Vec<T> u = VExpDown(Load(x + i) - shift), v = VExpDown(Load(x + i + L) - shift);
    if (kStore) Store(y + i, u), Store(y + i + L, v);
    a += u;
    b += v;
  }
  for (; i < n; i += L) {
    const int64_t m = n - i < L ? n - i : L;
    const Vec<T> u = VExpDown(Filled(x + i, m, -static_cast<T>(kInfinity)) - shift);
    if (kStore) StorePart(y + i, u, m);
    a += u;
    // Lanes past the end hold exp(-inf) = 0.
  }
  a += b;
  double sum = 0;
  for (int k = 0; k < L; ++k) sum += static_cast<double>(a[k]);
  return shift == shift ? static_cast<T>(sum) : shift;
}

template <class T>
void Row(T* y, const T* x, int64_t n) {
  const T sum = ExpSum<T, true>(y, x, n, RowMax(x, n));
  const T scale = T(1) / sum;
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] *= scale;
}
template <class T>
T LogSumExp(const T* x, int64_t n) {
  const T max = RowMax(x, n);
  // An infinite maximum is the result: inf, or -inf of an empty or fully masked row.
  if (max == static_cast<T>(kInfinity) || max == -static_cast<T>(kInfinity)) return max;
  return max + SLog(ExpSum<T, false>(nullptr, x, n, max));
}
template <class T>
void LogRow(T* y, const T* x, int64_t n) {
  const T max = RowMax(x, n);
  const T shift = SLog(ExpSum<T, false>(nullptr, x, n, max));
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - max) - shift;
}

constexpr int kTile = 128;  // Columns at a time; maxima and sums stay on the stack.

template <class T>
TK_INLINE void ColumnMax(T* max, const T* x, int64_t n, int m, int64_t stride) {
  for (int j = 0; j < m; ++j) max[j] = -static_cast<T>(kInfinity);
  for (int64_t r = 0; r < n; ++r, x += stride)
    for (int j = 0; j < m; ++j) {
      const T v = x[j];
      max[j] = (v > max[j]) | (v != v) ? v : max[j];
    }
}
template <class T, bool kStore>
TK_INLINE void ColumnExpSum(T* y, T* sum, const T* max, const T* x, int64_t n, int m,
                            int64_t stride) {
  constexpr int L = kLanes<T>;
  for (int j = 0; j < kTile; ++j) sum[j] = 0;
  for (int64_t r = 0; r < n; ++r, x += stride)
    for (int j = 0; j < m; j += L) {
      const int part = m - j < L ? m - j : L;
      const Vec<T> v = part == L ? Load(x + j) : LoadPart(x + j, part);
      const Vec<T> e = VExpDown(v - Load(max + j));
      Store(sum + j, Load(sum + j) + e);
      if (!kStore) continue;
      if (part == L)
        Store(y + r * stride + j, e);
      else
        StorePart(y + r * stride + j, e, part);
    }
  for (int j = 0; j < m; ++j)
    if (max[j] != max[j]) sum[j] = max[j];
}

template <class T>
void Columns(T* y, const T* x, int64_t n, int64_t columns, int64_t stride) {
  T max[kTile] = {}, sum[kTile];
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int m = static_cast<int>(columns - j0 < kTile ? columns - j0 : kTile);
    ColumnMax(max, x + j0, n, m, stride);
    ColumnExpSum<T, true>(y + j0, sum, max, x + j0, n, m, stride);
    for (int j = 0; j < m; ++j) sum[j] = T(1) / sum[j];
    for (int64_t r = 0; r < n; ++r)
      for (int j = 0; j < m; ++j) y[r * stride + j0 + j] *= sum[j];
  }
}
template <class T>
void LogColumns(T* y, const T* x, int64_t n, int64_t columns, int64_t stride) {
  T max[kTile] = {}, sum[kTile];
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int m = static_cast<int>(columns - j0 < kTile ? columns - j0 : kTile);
    ColumnMax(max, x + j0, n, m, stride);
    ColumnExpSum<T, false>(nullptr, sum, max, x + j0, n, m, stride);
    for (int j = 0; j < kTile; j += kLanes<T>) Store(sum + j, VLog(Load(sum + j)));
    for (int64_t r = 0; r < n; ++r)
      for (int j = 0; j < m; ++j)
        y[r * stride + j0 + j] = (x[r * stride + j0 + j] - max[j]) - sum[j];
  }
}
template <class T>
void LogSumExpColumns(T* y, const T* x, int64_t n, int64_t columns, int64_t stride) {
  T max[kTile] = {}, sum[kTile];
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int m = static_cast<int>(columns - j0 < kTile ? columns - j0 : kTile);
    ColumnMax(max, x + j0, n, m, stride);
    ColumnExpSum<T, false>(nullptr, sum, max, x + j0, n, m, stride);
    for (int j = 0; j < kTile; j += kLanes<T>) Store(sum + j, VLog(Load(sum + j)));
    for (int j = 0; j < m; ++j) {
      const T inf = static_cast<T>(kInfinity);
      y[j0 + j] = max[j] == inf || max[j] == -inf ? max[j] : max[j] + sum[j];
    }
  }
}

template <class T>
void ExpScaled(T* y, const T* x, int64_t n, T shift, T scale) {
  MapVectors(y, x, n, [=](Vec<T> v) TK_LAMBDA_INLINE { return VExp(v - shift) * scale; });
}
template <class T>
void ExpScaledEach(T* y, const T* x, int64_t n, const T* shift, const T* scale) {
  ForVectors<T>(
      n,
      [=](int64_t i)
          TK_LAMBDA_INLINE { Store(y + i, VExp(Load(x + i) - Load(shift + i)) * Load(scale + i)); },
      [=](int64_t i, int64_t m) TK_LAMBDA_INLINE {
        const Vec<T> e = VExp(LoadPart(x + i, m) - LoadPart(shift + i, m));
        StorePart(y + i, e * LoadPart(scale + i, m), m);
      });
}

}  // namespace

#define TK_SOFTMAX(T)                                              \
  {Row<T>,       LogRow<T>,           Columns<T>,   LogColumns<T>, \
   LogSumExp<T>, LogSumExpColumns<T>, ExpScaled<T>, ExpScaledEach<T>}
extern const SoftmaxTable softmax_table = {TK_SOFTMAX(float), TK_SOFTMAX(double)};

}  // namespace toolkit::TOOLKIT_ISA_NS
