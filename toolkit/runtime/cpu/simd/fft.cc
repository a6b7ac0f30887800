#include "simd/fft.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_SPAN(T) T* __restrict

template <class T>
using Lines = typename VecOf<T, kFftLines>::type;
template <class T>
TK_INLINE Lines<T> LoadLines(const T* x) {
  Lines<T> v;
  memcpy(&v, x, sizeof(v));
  return v;
}
template <class T>
TK_INLINE void StoreLines(T* x, Lines<T> v) {
  memcpy(x, &v, sizeof(v));
}

// re + i im = (ar + i ai)(br + i bi).
template <class T>
TK_INLINE void Times(T ar, T ai, T br, T bi, TK_SPAN(T) re, TK_SPAN(T) im) {
  *re = ar * br - ai * bi;
  *im = ar * bi + ai * br;
}

template <class T>
void Radix2(int64_t m, int64_t s, const T* wr, const T* wi, const T* xr, const T* xi, T* yr,
            T* yi) {
  for (int64_t p = 0; p < m; ++p) {
    const T cr = wr[p], ci = wi[p];
    const T *ar = xr + p * s, *ai = xi + p * s, *br = ar + m * s, *bi = ai + m * s;
    TK_SPAN(T) y0r = yr + 2 * p * s;
    TK_SPAN(T) y0i = yi + 2 * p * s;
    TK_SPAN(T) y1r = y0r + s;
    TK_SPAN(T) y1i = y0i + s;
    TK_IVDEP
    for (int64_t q = 0; q < s; ++q) {
      const T dr = ar[q] - br[q], di = ai[q] - bi[q];
      y0r[q] = ar[q] + br[q];
      y0i[q] = ai[q] + bi[q];
      Times(dr, di, cr, ci, y1r + q, y1i + q);
    }
  }
}

template <class T>
void Radix3(int64_t m, int64_t s, const T* wr, const T* wi, const T* xr, const T* xi, T* yr,
            T* yi) {
  constexpr T kSin = T(0.86602540378443864676);  // Of pi / 3.
  for (int64_t p = 0; p < m; ++p) {
    const T w1r = wr[p], w1i = wi[p], w2r = wr[m + p], w2i = wi[m + p];
    const T *a = xr + p * s, *b = a + m * s, *c = b + m * s;
    const T *ai = xi + p * s, *bi = ai + m * s, *ci = bi + m * s;
    TK_SPAN(T) y0r = yr + 3 * p * s;
    TK_SPAN(T) y0i = yi + 3 * p * s;
    TK_IVDEP
    for (int64_t q = 0; q < s; ++q) {
      const T sr = b[q] + c[q], si = bi[q] + ci[q];
      const T dr = kSin * (b[q] - c[q]), di = kSin * (bi[q] - ci[q]);
      const T tr = a[q] - T(0.5) * sr, ti = ai[q] - T(0.5) * si;
      y0r[q] = a[q] + sr;
      y0i[q] = ai[q] + si;
      Times(tr + di, ti - dr, w1r, w1i, y0r + s + q, y0i + s + q);
      Times(tr - di, ti + dr, w2r, w2i, y0r + 2 * s + q, y0i + 2 * s + q);
    }
  }
}

template <class T>
void Radix4(int64_t m, int64_t s, const T* wr, const T* wi, const T* xr, const T* xi, T* yr,
            T* yi) {
  for (int64_t p = 0; p < m; ++p) {
    const T w1r = wr[p], w1i = wi[p], w2r = wr[m + p], w2i = wi[m + p];
    const T w3r = wr[2 * m + p], w3i = wi[2 * m + p];
    const T *a = xr + p * s, *b = a + m * s, *c = b + m * s, *d = c + m * s;
    const T *ai = xi + p * s, *bi = ai + m * s, *ci = bi + m * s, *di = ci + m * s;
    TK_SPAN(T) y0r = yr + 4 * p * s;
    TK_SPAN(T) y0i = yi + 4 * p * s;
    TK_IVDEP
    for (int64_t q = 0; q < s; ++q) {
      const T acr = a[q] + c[q], aci = ai[q] + ci[q], bdr = b[q] + d[q], bdi = bi[q] + di[q];
      const T amr = a[q] - c[q], ami = ai[q] - ci[q], bmr = b[q] - d[q], bmi = bi[q] - di[q];
      y0r[q] = acr + bdr;
      y0i[q] = aci + bdi;
      Times(amr + bmi, ami - bmr, w1r, w1i, y0r + s + q, y0i + s + q);
      Times(acr - bdr, aci - bdi, w2r, w2i, y0r + 2 * s + q, y0i + 2 * s + q);
      Times(amr - bmi, ami + bmr, w3r, w3i, y0r + 3 * s + q, y0i + 3 * s + q);
    }
  }
}

// Radix 5 and the odd primes up to kFftLargestRadix, by the definition; inputs j and radix - j are
// added and subtracted first.
template <class T, int kRadix>
void OddRadix(int64_t m, int64_t s, const T* wr, const T* wi, const T* roots, const T* xr,
              const T* xi, T* yr, T* yi) {
  constexpr int kHalf = (kRadix - 1) / 2;
  using V = Lines<T>;
  for (int64_t p = 0; p < m; ++p) {
    for (int64_t q = 0; q < s; q += kFftLines) {
      const T *x = xr + p * s + q, *z = xi + p * s + q;
      V pr[kHalf], pi[kHalf], mr[kHalf], mi[kHalf];
      const V a = LoadLines<T>(x), b = LoadLines<T>(z);
      V sum_r = a, sum_i = b;
      for (int j = 0; j < kHalf; ++j) {
        const int64_t u = (j + 1) * m * s, v = (kRadix - 1 - j) * m * s;
        pr[j] = LoadLines<T>(x + u) + LoadLines<T>(x + v);
        pi[j] = LoadLines<T>(z + u) + LoadLines<T>(z + v);
        mr[j] = LoadLines<T>(x + u) - LoadLines<T>(x + v);
        mi[j] = LoadLines<T>(z + u) - LoadLines<T>(z + v);
        sum_r += pr[j];
        sum_i += pi[j];
      }
      T *to_r = yr + kRadix * p * s + q, *to_i = yi + kRadix * p * s + q;
      StoreLines<T>(to_r, sum_r);
      StoreLines<T>(to_i, sum_i);
      for (int k = 1; k <= kHalf; ++k) {
        V er = a, ei = b, odd_r = {}, odd_i = {};
        for (int j = 1; j <= kHalf; ++j) {
          const T c = roots[j * k % kRadix], d = roots[kRadix + j * k % kRadix];
          er += c * pr[j - 1];
          ei += c * pi[j - 1];
          odd_r -= d * mi[j - 1];
          odd_i += d * mr[j - 1];
        }
        const auto put = [&](int t, V re, V im) {
          const T cr = wr[(t - 1) * m + p], ci = wi[(t - 1) * m + p];
          StoreLines<T>(to_r + t * s, re * cr - im * ci);
          StoreLines<T>(to_i + t * s, re * ci + im * cr);
        };
        put(k, er + odd_r, ei + odd_i);
        put(kRadix - k, er - odd_r, ei - odd_i);
      }
    }
  }
}

template <class T>
void Pass(int radix, int64_t m, int64_t s, const T* wr, const T* wi, const T* roots, const T* xr,
          const T* xi, T* yr, T* yi) {
  switch (radix) {
    case 2:
      return Radix2(m, s, wr, wi, xr, xi, yr, yi);
    case 3:
      return Radix3(m, s, wr, wi, xr, xi, yr, yi);
    case 4:
      return Radix4(m, s, wr, wi, xr, xi, yr, yi);
    case 5:
      return OddRadix<T, 5>(m, s, wr, wi, roots, xr, xi, yr, yi);
    case 7:
      return OddRadix<T, 7>(m, s, wr, wi, roots, xr, xi, yr, yi);
    case 11:
      return OddRadix<T, 11>(m, s, wr, wi, roots, xr, xi, yr, yi);
    case 13:
      return OddRadix<T, 13>(m, s, wr, wi, roots, xr, xi, yr, yi);
  }
}

template <class T>
void Multiply(T* xr, T* xi, int64_t n, int64_t lines, const T* wr, const T* wi, int64_t row,
              int64_t step) {
  if (lines == 1 && row == 1) {
    TK_IVDEP
    for (int64_t k = 0; k < n; ++k) Times(xr[k], xi[k], wr[k], wi[k], xr + k, xi + k);
    return;
  }
  for (int64_t k = 0; k < n; ++k) {
    const T *vr = wr + k * row, *vi = wi + k * row;
    T *re = xr + k * lines, *im = xi + k * lines;
    if (step == 0) {
      const T cr = *vr, ci = *vi;
      TK_IVDEP
      for (int64_t l = 0; l < lines; ++l) Times(re[l], im[l], cr, ci, re + l, im + l);
    } else {
      TK_IVDEP
      for (int64_t l = 0; l < lines; ++l) Times(re[l], im[l], vr[l], vi[l], re + l, im + l);
    }
  }
}

// E = (Z[k] + conj Z[h - k]) / 2, O = (Z[k] - conj Z[h - k]) / 2i: X[k] = E + w O,
// X[h - k] = conj(E - w O).
template <class T>
void Untangle(T* xr, T* xi, int64_t h, int64_t lines, const T* wr, const T* wi) {
  for (int64_t l = 0; l < lines; ++l) {
    const T re = xr[l], im = xi[l];
    xr[l] = re + im;
    xi[l] = 0;
    xr[h * lines + l] = re - im;
    xi[h * lines + l] = 0;
  }
  for (int64_t k = 1; 2 * k <= h; ++k) {
    const T cr = wr[k], ci = wi[k];
    T *ar = xr + k * lines, *ai = xi + k * lines;
    T *br = xr + (h - k) * lines, *bi = xi + (h - k) * lines;
    TK_IVDEP
    for (int64_t l = 0; l < lines; ++l) {
      const T er = T(0.5) * (ar[l] + br[l]), ei = T(0.5) * (ai[l] - bi[l]);
      const T or_ = T(0.5) * (ai[l] + bi[l]), oi = T(0.5) * (br[l] - ar[l]);
      T tr, ti;
      Times(or_, oi, cr, ci, &tr, &ti);
      ar[l] = er + tr;
      ai[l] = ei + ti;
      br[l] = er - tr;
      bi[l] = ti - ei;
    }
  }
}

// E = (X[k] + conj X[h - k]) / 2, O = (X[k] - conj X[h - k]) conj(w) / 2: Z[k] = E + i O,
// Z[h - k] = conj(E) + i conj(O).
template <class T>
void Tangle(T* xr, T* xi, int64_t h, int64_t lines, const T* wr, const T* wi) {
  for (int64_t l = 0; l < lines; ++l) {
    const T a = xr[l], b = xr[h * lines + l];
    xr[l] = T(0.5) * (a + b);
    xi[l] = T(0.5) * (a - b);
  }
  for (int64_t k = 1; 2 * k <= h; ++k) {
    const T cr = wr[k], ci = -wi[k];
    T *ar = xr + k * lines, *ai = xi + k * lines;
    T *br = xr + (h - k) * lines, *bi = xi + (h - k) * lines;
    TK_IVDEP
    for (int64_t l = 0; l < lines; ++l) {
      const T er = T(0.5) * (ar[l] + br[l]), ei = T(0.5) * (ai[l] - bi[l]);
      const T dr = T(0.5) * (ar[l] - br[l]), di = T(0.5) * (ai[l] + bi[l]);
      T or_, oi;
      Times(dr, di, cr, ci, &or_, &oi);
      ar[l] = er - oi;
      ai[l] = ei + or_;
      br[l] = er + oi;
      bi[l] = or_ - ei;
    }
  }
}

// A square of kFftLines vectors, transposed by exchanging halves, quarters and eighths.
template <class V>
TK_INLINE void TransposeSquare(V* v) {
  static_assert(kFftLines == 8, "three steps");
  for (int i = 0; i < 8; i += 2) {
    const V a = v[i], b = v[i + 1];
    v[i] = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
    v[i + 1] = __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int j = 0; j < 4; ++j) {
    const int i = j < 2 ? j : j + 2;
    const V a = v[i], b = v[i + 2];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
    v[i + 2] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 4; ++i) {
    const V a = v[i], b = v[i + 4];
    v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

template <class T>
void Gather(T* even, T* odd, const T* const* x, int64_t pairs, const T* window) {
  constexpr int kPairs = kFftLines / 2;
  int64_t k = 0;
  for (; k + kPairs <= pairs; k += kPairs) {
    Lines<T> v[kFftLines];
    for (int l = 0; l < kFftLines; ++l) v[l] = LoadLines(x[l] + 2 * k);
    if (window) {
      const Lines<T> w = LoadLines(window + 2 * k);
      for (int l = 0; l < kFftLines; ++l) v[l] *= w;
    }
    TransposeSquare(v);
    for (int i = 0; i < kPairs; ++i) {
      StoreLines(even + (k + i) * kFftLines, v[2 * i]);
      StoreLines(odd + (k + i) * kFftLines, v[2 * i + 1]);
    }
  }
  for (; k < pairs; ++k)
    for (int l = 0; l < kFftLines; ++l) {
      even[k * kFftLines + l] = window ? window[2 * k] * x[l][2 * k] : x[l][2 * k];
      odd[k * kFftLines + l] = window ? window[2 * k + 1] * x[l][2 * k + 1] : x[l][2 * k + 1];
    }
}

template <class T>
void Scatter(T* const* y, const T* even, const T* odd, int64_t pairs, T scale) {
  constexpr int kPairs = kFftLines / 2;
  int64_t k = 0;
  for (; k + kPairs <= pairs; k += kPairs) {
    Lines<T> v[kFftLines];
    for (int i = 0; i < kPairs; ++i) {
      v[2 * i] = scale * LoadLines(even + (k + i) * kFftLines);
      v[2 * i + 1] = scale * LoadLines(odd + (k + i) * kFftLines);
    }
    TransposeSquare(v);
    for (int l = 0; l < kFftLines; ++l) StoreLines(y[l] + 2 * k, v[l]);
  }
  for (; k < pairs; ++k)
    for (int l = 0; l < kFftLines; ++l) {
      y[l][2 * k] = scale * even[k * kFftLines + l];
      y[l][2 * k + 1] = scale * odd[k * kFftLines + l];
    }
}

template <class T>
void GatherColumns(T* even, T* odd, const T* x, int64_t stride, int64_t n) {
  for (int64_t k = 0; k < n; ++k) {
    const Lines<T> a = LoadLines(x + k * stride), b = LoadLines(x + k * stride + kFftLines);
    StoreLines(even + k * kFftLines, __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14));
    StoreLines(odd + k * kFftLines, __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15));
  }
}

template <class T>
void ScatterColumns(T* y, int64_t stride, const T* even, const T* odd, int64_t n, T scale) {
  for (int64_t k = 0; k < n; ++k) {
    const Lines<T> a = scale * LoadLines(even + k * kFftLines);
    const Lines<T> b = scale * LoadLines(odd + k * kFftLines);
    StoreLines(y + k * stride, __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11));
    StoreLines(y + k * stride + kFftLines,
               __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15));
  }
}

#define TK_FFT(T)                                       \
  {Pass<T>,   Multiply<T>, Untangle<T>,      Tangle<T>, \
   Gather<T>, Scatter<T>,  GatherColumns<T>, ScatterColumns<T>}

}  // namespace

extern const FftTable fft_table = {
    TK_FFT(float),
    TK_FFT(double),
};

}  // namespace toolkit::TOOLKIT_ISA_NS
