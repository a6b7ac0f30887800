// Statistics and affine passes. Sums run in four vectors over blocks of 4096 elements, whose
// results add up in double.
#include "simd/normalize.h"

#include "simd/math.h"
#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

constexpr int64_t kBlock = 4096;

// Sum over i of term(i), where term loads a vector at i and tail(i, m) the last m elements.
template <class T, class Term, class Tail>
TK_INLINE double BlockSum(int64_t n, Term term, Tail tail) {
  constexpr int L = kLanes<T>;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    Vec<T> a = {}, b = {}, c = {}, d = {};
    int64_t i = begin;
    for (; i + 4 * L <= end; i += 4 * L) {
      a += term(i);
      b += term(i + L);
      c += term(i + 2 * L);
      d += term(i + 3 * L);
    }
    for (; i + L <= end; i += L) a += term(i);
    if (i < end) b += tail(i, end - i);
    a = (a + b) + (c + d);
    total += SumLanes<T>(a);
  }
  return total;
}

template <class T>
double Sum(const T* x, int64_t n) {
  return BlockSum<T>(
      n, [=](int64_t i) TK_LAMBDA_INLINE { return Load(x + i); },
      [=](int64_t i, int64_t m) TK_LAMBDA_INLINE { return LoadPart(x + i, m); });
}

template <class T>
TK_INLINE Vec<T> LoadPartOr(const T* p, int64_t n, T fill) {
  Vec<T> v = Vec<T>{} + fill;
  memcpy(&v, p, static_cast<size_t>(n) * sizeof(T));
  return v;
}

template <class T>
double SumSquare(const T* x, int64_t n, T shift) {
  return BlockSum<T>(
      n,
      [=](int64_t i) TK_LAMBDA_INLINE {
        const Vec<T> d = Load(x + i) - shift;
        return d * d;
      },
      [=](int64_t i, int64_t m) TK_LAMBDA_INLINE {
        const Vec<T> d = LoadPartOr(x + i, m, shift) - shift;
        return d * d;
      });
}

template <class T>
void Moments(const T* x, int64_t n, double* mean, double* variance) {
  *mean = Sum(x, n) / static_cast<double>(n);
  // The mean is rounded to T for the differences; the correction removes that rounding.
  const T shift = static_cast<T>(*mean);
  const double off = *mean - static_cast<double>(shift);
  *variance = SumSquare(x, n, shift) / static_cast<double>(n) - off * off;
  if (*variance < 0) *variance = 0;
}

// Adds kSums quantities over `spans` spans of n elements, `stride` apart; term(i) gives them for
// the vector at i, tail(i, m) for the last m elements of a span. Sums leave T every kBlock
// elements.
template <class T, int kSums, class Term, class Tail>
TK_INLINE void SpanSums(double* out, int64_t spans, int64_t stride, int64_t n, Term term,
                        Tail tail) {
  constexpr int L = kLanes<T>;
  Vec<T> acc[kSums] = {};
  int64_t pending = 0;
  const auto flush = [&]() TK_LAMBDA_INLINE {
    for (int k = 0; k < kSums; ++k) {
      out[k] += SumLanes<T>(acc[k]);
      acc[k] = Vec<T>{};
    }
    pending = 0;
  };
  for (int64_t r = 0; r < spans; ++r)
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      const int64_t end = begin + kBlock < n ? begin + kBlock : n;
      int64_t i = begin;
      for (; i + L <= end; i += L) term(acc, r * stride + i);
      if (i < end) tail(acc, r * stride + i, end - i);
      pending += end - begin;
      if (pending >= kBlock) flush();
    }
  flush();
}

template <class T>
void SpanMoments(double* out, const T* x, int64_t spans, int64_t stride, int64_t n, T shift) {
  const auto add = [](Vec<T>* acc, Vec<T> d) TK_LAMBDA_INLINE {
    acc[0] += d;
    acc[1] += d * d;
  };
  SpanSums<T, 2>(
      out, spans, stride, n,
      [=](Vec<T>* acc, int64_t i) TK_LAMBDA_INLINE { add(acc, Load(x + i) - shift); },
      [=](Vec<T>* acc, int64_t i, int64_t m)
          TK_LAMBDA_INLINE { add(acc, LoadPartOr(x + i, m, shift) - shift); });
}

template <class T>
void SpanGradSums(double* out, const T* x, const T* dy, int64_t spans, int64_t stride, int64_t n,
                  T shift) {
  const auto add = [](Vec<T>* acc, Vec<T> d, Vec<T> g) TK_LAMBDA_INLINE {
    acc[0] += d;
    acc[1] += d * d;
    acc[2] += g;
    acc[3] += g * d;
  };
  SpanSums<T, 4>(
      out, spans, stride, n,
      [=](Vec<T>* acc, int64_t i) TK_LAMBDA_INLINE { add(acc, Load(x + i) - shift, Load(dy + i)); },
      [=](Vec<T>* acc, int64_t i, int64_t m)
          TK_LAMBDA_INLINE { add(acc, LoadPartOr(x + i, m, shift) - shift, LoadPart(dy + i, m)); });
}

template <class T>
void Affine(T* y, const T* x, int64_t n, T mean, T scale, T shift) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale + shift;
}
template <class T>
void AffineVector(T* y, const T* x, int64_t n, const T* mean, const T* scale, const T* shift) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean[i]) * scale[i] + shift[i];
}

template <class T>
void AffineEach(T* y, const T* x, int64_t n, T mean, T rstd, const T* scale, const T* bias) {
  if (scale && bias) {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * scale[i] + bias[i];
  } else if (scale) {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * scale[i];
  } else if (bias) {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd + bias[i];
  } else {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd;
  }
}

template <class T>
void Combine(T* y, const T* x, const T* z, int64_t n, T a, T b, T mean, T c) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = a * x[i] + (b * (z[i] - mean) + c);
}
template <class T>
void CombineEach(T* y, const T* x, const T* z, int64_t n, const T* a, const T* b, const T* mean,
                 const T* c) {
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * x[i] + (b[i] * (z[i] - mean[i]) + c[i]);
}

// Columns add up in T over 32 rows, then in double.
constexpr int kTile = 128;
constexpr int64_t kRows = 32;

template <class T>
void ColumnDotSums(double* sum, double* dot, const T* x, const T* z, const T* shift, int64_t rows,
                   int64_t n) {
  for (int64_t j0 = 0; j0 < n; j0 += kTile) {
    const int64_t m = n - j0 < kTile ? n - j0 : kTile;
    for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
      T s[kTile] = {}, d[kTile] = {};
      for (int64_t r = r0; r < rows && r < r0 + kRows; ++r) {
        const T *p = x + r * n + j0, *q = z + r * n + j0;
        for (int64_t j = 0; j < m; ++j) {
          s[j] += p[j];
          d[j] += p[j] * (q[j] - shift[j0 + j]);
        }
      }
      for (int64_t j = 0; j < m; ++j) {
        sum[j0 + j] += static_cast<double>(s[j]);
        dot[j0 + j] += static_cast<double>(d[j]);
      }
    }
  }
}
template <class T>
void ColumnSquares(double* sum, const T* x, const T* shift, int64_t rows, int64_t n) {
  for (int64_t j0 = 0; j0 < n; j0 += kTile) {
    const int64_t m = n - j0 < kTile ? n - j0 : kTile;
    for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
      T s[kTile] = {};
      for (int64_t r = r0; r < rows && r < r0 + kRows; ++r) {
        const T* p = x + r * n + j0;
        for (int64_t j = 0; j < m; ++j) {
          const T d = p[j] - shift[j0 + j];
          s[j] += d * d;
        }
      }
      for (int64_t j = 0; j < m; ++j) sum[j0 + j] += static_cast<double>(s[j]);
    }
  }
}

// dx = rstd (g - mean(g) - h mean(g h)), g = dy scale, h = (x - mean) rstd.
template <class T>
void LayerNormGrad(T* dx, T* dscale, T* dbias, const T* x, const T* scale, const T* dy, int64_t n,
                   T mean, T rstd) {
  constexpr int L = kLanes<T>;
  double sum = 0, dot = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    Vec<T> s = {}, d = {};
    const auto add = [&](Vec<T> h, Vec<T> v, Vec<T> g) TK_LAMBDA_INLINE {
      g = v * g;
      s += g;
      d += g * h;
    };
    int64_t i = begin;
    for (; i + L <= end; i += L) {
      const Vec<T> h = (Load(x + i) - mean) * rstd, v = Load(dy + i);
      add(h, v, scale ? Load(scale + i) : Vec<T>{} + T(1));
      if (dscale) Store(dscale + i, Load(dscale + i) + v * h);
      if (dbias) Store(dbias + i, Load(dbias + i) + v);
    }
    if (const int64_t m = end - i; m > 0) {
      const Vec<T> h = (LoadPartOr(x + i, m, mean) - mean) * rstd, v = LoadPart(dy + i, m);
      add(h, v, scale ? LoadPart(scale + i, m) : Vec<T>{} + T(1));
      if (dscale) StorePart(dscale + i, LoadPart(dscale + i, m) + v * h, m);
      if (dbias) StorePart(dbias + i, LoadPart(dbias + i, m) + v, m);
    }
    sum += SumLanes<T>(s);
    dot += SumLanes<T>(d);
  }
  const T ms = static_cast<T>(sum / static_cast<double>(n));
  const T md = static_cast<T>(dot / static_cast<double>(n));
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T g = scale ? dy[i] * scale[i] : dy[i];
    dx[i] = rstd * (g - ms - (x[i] - mean) * rstd * md);
  }
}

template <class T>
void SoftmaxGrad(T* dx, const T* y, const T* dy, int64_t n, int64_t columns, int64_t stride) {
  if (columns == 1 && stride == 1) {
    const T dot = static_cast<T>(BlockSum<T>(
        n, [=](int64_t i) TK_LAMBDA_INLINE { return Load(y + i) * Load(dy + i); },
        [=](int64_t i, int64_t m)
            TK_LAMBDA_INLINE { return LoadPart(y + i, m) * LoadPart(dy + i, m); }));
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
    return;
  }
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int64_t m = columns - j0 < kTile ? columns - j0 : kTile;
    T dot[kTile] = {};
    for (int64_t r = 0; r < n; ++r)
      for (int64_t j = 0; j < m; ++j) dot[j] += y[r * stride + j0 + j] * dy[r * stride + j0 + j];
    for (int64_t r = 0; r < n; ++r) {
      const int64_t at = r * stride + j0;
      TK_IVDEP
      for (int64_t j = 0; j < m; ++j) dx[at + j] = y[at + j] * (dy[at + j] - dot[j]);
    }
  }
}

TK_INLINE void ExpSpan(float* y, const float* x, int64_t n) {
  MapVectors(y, x, n, [](F32 v) TK_LAMBDA_INLINE { return Exp(v); });
}
TK_INLINE void ExpSpan(double* y, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = exp(x[i]);
}

template <class T>
void LogSoftmaxGrad(T* dx, const T* y, const T* dy, int64_t n, int64_t columns, int64_t stride) {
  T e[kTile];
  if (columns == 1 && stride == 1) {
    const T sum = static_cast<T>(Sum(dy, n));
    for (int64_t i = 0; i < n; i += kTile) {
      const int64_t m = n - i < kTile ? n - i : kTile;
      ExpSpan(e, y + i, m);
      TK_IVDEP
      for (int64_t j = 0; j < m; ++j) dx[i + j] = dy[i + j] - e[j] * sum;
    }
    return;
  }
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int64_t m = columns - j0 < kTile ? columns - j0 : kTile;
    T sum[kTile] = {};
    for (int64_t r = 0; r < n; ++r)
      for (int64_t j = 0; j < m; ++j) sum[j] += dy[r * stride + j0 + j];
    for (int64_t r = 0; r < n; ++r) {
      const int64_t at = r * stride + j0;
      ExpSpan(e, y + at, m);
      TK_IVDEP
      for (int64_t j = 0; j < m; ++j) dx[at + j] = dy[at + j] - e[j] * sum[j];
    }
  }
}

}  // namespace

#define TK_NORMALIZE(T)                                                                  \
  {SoftmaxGrad<T>, LogSoftmaxGrad<T>, Moments<T>,       Sum<T>,           SumSquare<T>,  \
   SpanMoments<T>, SpanGradSums<T>,   Affine<T>,        AffineVector<T>,  AffineEach<T>, \
   Combine<T>,     CombineEach<T>,    ColumnDotSums<T>, ColumnSquares<T>, LayerNormGrad<T>}
extern const NormalizeTable normalize_table = {TK_NORMALIZE(float), TK_NORMALIZE(double)};

}  // namespace toolkit::TOOLKIT_ISA_NS
