#include "simd/window.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T>
void Axpy(int64_t n, T w, const T* x, int64_t stride, T* y) {
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) y[i] += w * x[i];
  else if (stride == 2)
    for (int64_t i = 0; i < n; ++i) y[i] += w * x[2 * i];
  else
    for (int64_t i = 0; i < n; ++i) y[i] += w * x[i * stride];
}

template <class T>
void AxpyBack(int64_t n, T w, const T* y, T* x, int64_t stride) {
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) x[i] += w * y[i];
  else
    for (int64_t i = 0; i < n; ++i) x[i * stride] += w * y[i];
}

template <class T>
T Dot(int64_t n, const T* y, const T* x, int64_t stride) {
  constexpr int kWidth = kLanes<T>;
  int64_t i = 0;
  T sum = T(0);
  if (stride == 1 && n >= kWidth) {
    Vec<T> acc = {};
    for (; i + kWidth <= n; i += kWidth) acc += Load(y + i) * Load(x + i);
    for (int j = 0; j < kWidth; ++j) sum += acc[j];
  }
  for (; i < n; ++i) sum += y[i] * x[i * stride];
  return sum;
}

#define TK_UNROLL _Pragma("GCC unroll 64")

// p[0], p[2], ...: reads nothing beyond the last of them.
template <class T>
TK_INLINE Vec<T> LoadEven(const T* p) {
  constexpr int kWidth = kLanes<T>;
  const Vec<T> a = Load(p), b = Load(p + kWidth - 1);
  if constexpr (kWidth == 16)
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  else if constexpr (kWidth == 8)
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15);
  else if constexpr (kWidth == 4)
    return __builtin_shufflevector(a, b, 0, 2, 5, 7);
  else
    return __builtin_shufflevector(a, b, 0, 3);
}

// `Vectors` vectors of outputs from column `at` on; the last one ends at column n.
template <class T, int Vectors, int Stride>
TK_INLINE void TapsBlock(int rows, const T* const* x, const T* const* w, int64_t taps,
                         int64_t dilation, T init, int64_t at, int64_t n, T* y) {
  constexpr int kWidth = kLanes<T>;
  int64_t column[Vectors];
  Vec<T> acc[Vectors];
  TK_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    column[v] = at + v * kWidth < n - kWidth ? at + v * kWidth : n - kWidth;
    acc[v] = Set1(init);
  }
  for (int r = 0; r < rows; ++r) {
    for (int64_t t = 0; t < taps; ++t) {
      const Vec<T> wv = Set1(w[r][t]);
      const T* from = x[r] + t * dilation;
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v)
        acc[v] += wv * (Stride == 1 ? Load(from + column[v]) : LoadEven(from + 2 * column[v]));
    }
  }
  TK_UNROLL
  for (int v = 0; v < Vectors; ++v) Store(y + column[v], acc[v]);
}

template <class T, int Stride>
TK_INLINE int64_t TapsRow(int64_t n, int rows, const T* const* x, const T* const* w, int64_t taps,
                          int64_t dilation, T init, T* y) {
  constexpr int kWidth = kLanes<T>;
  if (n < kWidth) return 0;
  int64_t i = 0;
  for (; i + 3 * kWidth < n; i += 4 * kWidth)
    TapsBlock<T, 4, Stride>(rows, x, w, taps, dilation, init, i, n, y);
  if (i + kWidth < n)
    TapsBlock<T, 3, Stride>(rows, x, w, taps, dilation, init, i, n, y);
  else if (i < n)
    TapsBlock<T, 1, Stride>(rows, x, w, taps, dilation, init, i, n, y);
  return n;
}

template <class T>
void Taps(int64_t n, int rows, const T* const* x, const T* const* w, int64_t taps, int64_t dilation,
          int64_t stride, T init, T* y) {
  int64_t i = 0;
  if (stride == 1)
    i = TapsRow<T, 1>(n, rows, x, w, taps, dilation, init, y);
  else if (stride == 2)
    i = TapsRow<T, 2>(n, rows, x, w, taps, dilation, init, y);
  for (; i < n; ++i) {
    T sum = init;
    for (int r = 0; r < rows; ++r)
      for (int64_t t = 0; t < taps; ++t) sum += w[r][t] * x[r][i * stride + t * dilation];
    y[i] = sum;
  }
}

template <class T>
TK_INLINE T Larger(T a, T b) {
  return (b > a) | (b != b) ? b : a;
}

template <class T>
void Max(int64_t n, const T* x, int64_t stride, T* y) {
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) y[i] = Larger(y[i], x[i]);
  else if (stride == 2)
    for (int64_t i = 0; i < n; ++i) y[i] = Larger(y[i], x[2 * i]);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = Larger(y[i], x[i * stride]);
}

// 4 x lanes partial sums.
template <class T>
T RowSum(int64_t n, const T* x) {
  constexpr int kWidth = kLanes<T>;
  Vec<T> acc[4] = {};
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
    for (int u = 0; u < 4; ++u) acc[u] += Load(x + i + u * kWidth);
  const Vec<T> v = (acc[0] + acc[1]) + (acc[2] + acc[3]);
  T sum = T(0);
  for (int j = 0; j < kWidth; ++j) sum += v[j];
  for (; i < n; ++i) sum += x[i];
  return sum;
}

template <class T>
T RowMax(int64_t n, const T* x) {
  constexpr int kWidth = 2 * kLanes<T>;
  T best[kWidth];
  for (int j = 0; j < kWidth; ++j) best[j] = x[0];
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth)
    for (int j = 0; j < kWidth; ++j) best[j] = Larger(best[j], x[i + j]);
  for (; i < n; ++i) best[0] = Larger(best[0], x[i]);
  for (int j = 1; j < kWidth; ++j) best[0] = Larger(best[0], best[j]);
  return best[0];
}

// A copy of a fixed number of bytes from under each tap to the row of that tap.
struct Piece {
  int64_t from, to;  // In elements.
};

constexpr int kSpan = 64;       // Positions done at a time.
constexpr int kPieceSizes = 5;  // 64, 32, ... 4 bytes.

// Runs of positions within one innermost row, as pieces: the end of a run is a piece that overlaps
// the one before, so that no single elements are left.
struct Pieces {
  Piece list[kPieceSizes][2 * kSpan];
  int count[kPieceSizes];

  TK_INLINE void Add(int64_t from, int64_t to, int64_t length, int64_t item) {
    int size = 0;
    int64_t bytes = 64;
    while (bytes > kVectorBytes || bytes > length * item) {
      bytes /= 2;
      ++size;
    }
    const int64_t step = bytes / item;
    for (int64_t i = 0; i < length; i += step) {
      const int64_t at = i + step <= length ? i : length - step;
      list[size][count[size]++] = {from + at, to + at};
    }
  }
};

template <int Bytes, class T>
TK_INLINE void CopyPieces(const Pieces& pieces, int size, const T* x, T* out) {
  for (int i = 0; i < pieces.count[size]; ++i) {
    char block[Bytes];
    memcpy(block, x + pieces.list[size][i].from, Bytes);
    memcpy(out + pieces.list[size][i].to, block, Bytes);
  }
}

// Calls run(x under the tap, row of out) for each tap k.
template <class T, class Fn>
TK_INLINE void ForEachTap(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t width,
                          T* out, Fn&& run) {
  int64_t step[kMaxSpatialRank], plane = 1, tap[kMaxSpatialRank], rest = k0;
  for (int d = w.rank - 1; d >= 0; --d) {
    step[d] = plane * w.dilation[d];
    plane *= w.in[d];
    tap[d] = rest % w.kernel[d];
    rest /= w.kernel[d];
  }
  x += rest * plane;
  for (int d = 0; d < w.rank; ++d) x += tap[d] * step[d];
  for (int64_t k = 0; k < kc; ++k, out += width) {
    run(x, out);
    int d = w.rank - 1;
    for (; d >= 0; --d) {
      x += step[d];
      if (++tap[d] < w.kernel[d]) break;
      x -= w.kernel[d] * step[d];
      tap[d] = 0;
    }
    if (d < 0) x += plane;
  }
}

template <class T>
void Im2ColSpan(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t p0, int64_t n,
                int64_t width, T* out) {
  const int last = w.rank - 1;
  const int64_t columns = w.out[last], stride = w.stride[last];
  Pieces pieces;
  for (int i = 0; i < kPieceSizes; ++i) pieces.count[i] = 0;
  int64_t runs[kSpan][3];  // From, to, length; for strides other than 1.
  int run_count = 0;
  for (int64_t at = 0; at < n;) {
    int64_t row = (p0 + at) / columns, plane = w.in[last];
    const int64_t column = (p0 + at) % columns;
    const int64_t length = columns - column < n - at ? columns - column : n - at;
    int64_t from = column * stride;
    for (int d = last - 1; d >= 0; --d) {
      from += row % w.out[d] * w.stride[d] * plane;
      row /= w.out[d];
      plane *= w.in[d];
    }
    if (stride == 1) {
      pieces.Add(from, at, length, sizeof(T));
    } else {
      runs[run_count][0] = from;
      runs[run_count][1] = at;
      runs[run_count++][2] = length;
    }
    at += length;
  }
  if (stride == 1) {
    ForEachTap(w, x, k0, kc, width, out, [&](const T* tap, T* row) {
      if (kVectorBytes >= 64) CopyPieces<64>(pieces, 0, tap, row);
      if (kVectorBytes >= 32) CopyPieces<32>(pieces, 1, tap, row);
      CopyPieces<16>(pieces, 2, tap, row);
      CopyPieces<8>(pieces, 3, tap, row);
      if (sizeof(T) <= 4) CopyPieces<4>(pieces, 4, tap, row);
    });
    return;
  }
  constexpr int kWidth = kLanes<T>;
  ForEachTap(w, x, k0, kc, width, out, [&](const T* tap, T* row) {
    for (int r = 0; r < run_count; ++r) {
      const T* from = tap + runs[r][0];
      T* to = row + runs[r][1];
      const int64_t length = runs[r][2];
      int64_t i = 0;
      if (stride == 2 && length >= kWidth) {
        for (; i + kWidth <= length; i += kWidth) Store(to + i, LoadEven(from + 2 * i));
        if (i < length) Store(to + length - kWidth, LoadEven(from + 2 * (length - kWidth)));
        continue;
      }
      for (; i < length; ++i) to[i] = from[i * stride];
    }
  });
}

template <class T>
void Im2Col(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t p0, int64_t n,
            int64_t width, T* out) {
  for (int64_t at = 0; at < n; at += kSpan) {
    const int64_t span = n - at < kSpan ? n - at : kSpan;
    Im2ColSpan(w, x, k0, kc, p0 + at, span, width, out + at);
  }
}

template <class T>
constexpr WindowRows<T> Rows() {
  return {Axpy<T>, AxpyBack<T>, Dot<T>, Taps<T>, Max<T>, RowSum<T>, RowMax<T>, Im2Col<T>};
}

}  // namespace

extern const WindowTable window_table = {Rows<float>(), Rows<double>()};

}  // namespace toolkit::TOOLKIT_ISA_NS
