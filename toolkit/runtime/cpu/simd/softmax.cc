// Softmax over rows: three passes in cache (maximum, exp and sum, scale). Over columns: the same
// passes on tiles of columns. float32 by vectors of math.h, float64 by the C library.
#include "simd/softmax.h"

#include "simd/exp_rows.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

TK_INLINE float SLog(float x) { return logf(x); }
TK_INLINE double SLog(double x) { return log(x); }
TK_INLINE F32 VLog(F32 x) { return Log(x); }
TK_INLINE F64 VLog(F64 x) {
  for (int k = 0; k < kLanes<double>; ++k) x[k] = log(x[k]);
  return x;
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
