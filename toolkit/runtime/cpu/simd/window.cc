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

template <class T, int Vectors, int Stride>
TK_INLINE void TapsBlock(int rows, const T* const* x, const T* const* w, int64_t taps,
                         int64_t dilation, T init, int64_t at, T* y) {
  constexpr int kWidth = kLanes<T>;
  Vec<T> acc[Vectors];
  for (int v = 0; v < Vectors; ++v) acc[v] = Set1(init);
  for (int r = 0; r < rows; ++r) {
    for (int64_t t = 0; t < taps; ++t) {
      const Vec<T> wv = Set1(w[r][t]);
      const T* from = x[r] + at * Stride + t * dilation;
      for (int v = 0; v < Vectors; ++v)
        acc[v] += wv * (Stride == 1 ? Load(from + v * kWidth) : LoadEven(from + 2 * v * kWidth));
    }
  }
  for (int v = 0; v < Vectors; ++v) Store(y + at + v * kWidth, acc[v]);
}

template <class T, int Stride>
TK_INLINE int64_t TapsRow(int64_t n, int rows, const T* const* x, const T* const* w, int64_t taps,
                          int64_t dilation, T init, T* y) {
  constexpr int kWidth = kLanes<T>;
  if (n < kWidth) return 0;
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
    TapsBlock<T, 4, Stride>(rows, x, w, taps, dilation, init, i, y);
  for (; i + kWidth <= n; i += kWidth)
    TapsBlock<T, 1, Stride>(rows, x, w, taps, dilation, init, i, y);
  if (i < n) TapsBlock<T, 1, Stride>(rows, x, w, taps, dilation, init, n - kWidth, y);
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

template <int Bytes>
TK_INLINE void CopyBytes(char* to, const char* from) {
  char block[Bytes];
  memcpy(block, from, Bytes);
  memcpy(to, block, Bytes);
}

// The end is copied by a block that overlaps what is done, so no loop over single elements.
TK_INLINE void CopyBytes(int64_t n, const char* from, char* to) {
  if (n >= kVectorBytes) {
    int64_t i = 0;
    for (; i + kVectorBytes <= n; i += kVectorBytes) CopyBytes<kVectorBytes>(to + i, from + i);
    if (i < n) CopyBytes<kVectorBytes>(to + n - kVectorBytes, from + n - kVectorBytes);
  } else if (n >= 32) {
    CopyBytes<32>(to, from);
    CopyBytes<32>(to + n - 32, from + n - 32);
  } else if (n >= 16) {
    CopyBytes<16>(to, from);
    CopyBytes<16>(to + n - 16, from + n - 16);
  } else if (n >= 8) {
    CopyBytes<8>(to, from);
    CopyBytes<8>(to + n - 8, from + n - 8);
  } else if (n >= 4) {
    CopyBytes<4>(to, from);
  }
}

template <class T>
TK_INLINE void CopyRow(int64_t n, const T* x, int64_t stride, T* out) {
  if (stride == 1)
    CopyBytes(n * static_cast<int64_t>(sizeof(T)), reinterpret_cast<const char*>(x),
              reinterpret_cast<char*>(out));
  else if (stride == 2)
    for (int64_t i = 0; i < n; ++i) out[i] = x[2 * i];
  else
    for (int64_t i = 0; i < n; ++i) out[i] = x[i * stride];
}

template <class T>
TK_INLINE void Zero(int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = T(0);
}

// A run of output positions within one innermost row.
struct Segment {
  int64_t at, length;  // In the panel.
  int64_t column;      // First output column.
  int64_t outer[kMaxSpatialRank];
};

constexpr int kSpan = 64;  // Positions done at a time: bounds the segments.

template <class T>
void Im2ColSpan(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t p0, int64_t n,
                int64_t width, T* out) {
  const int last = w.rank - 1;
  const int64_t columns = w.out[last];
  Segment segments[kSpan];
  int count = 0;
  for (int64_t at = 0; at < n; ++count) {
    Segment& s = segments[count];
    int64_t row = (p0 + at) / columns;
    s.at = at;
    s.column = (p0 + at) % columns;
    s.length = columns - s.column < n - at ? columns - s.column : n - at;
    for (int d = last - 1; d >= 0; --d) {
      s.outer[d] = row % w.out[d];
      row /= w.out[d];
    }
    at += s.length;
  }

  int64_t plane = 1, taps = 1;
  for (int d = 0; d < w.rank; ++d) {
    plane *= w.in[d];
    taps *= w.kernel[d];
  }
  int64_t tap[kMaxSpatialRank], rest = k0 % taps;
  const T* channel = x + k0 / taps * plane;
  for (int d = last; d >= 0; --d) {
    tap[d] = rest % w.kernel[d];
    rest /= w.kernel[d];
  }
  const T* rows[kSpan];  // Input row under each segment; null in the padding.
  bool fresh = true;
  const int64_t stride = w.stride[last], in_columns = w.in[last];
  for (int64_t k = 0; k < kc; ++k, out += width) {
    if (fresh) {
      for (int i = 0; i < count; ++i) {
        int64_t offset = 0;
        bool inside = true;
        for (int d = 0; d < last; ++d) {
          const int64_t at =
              segments[i].outer[d] * w.stride[d] + tap[d] * w.dilation[d] - w.pad_begin[d];
          inside &= at >= 0 && at < w.in[d];
          offset = offset * w.in[d] + at;
        }
        rows[i] = inside ? channel + offset * in_columns : nullptr;
      }
      fresh = false;
    }
    const int64_t shift = tap[last] * w.dilation[last] - w.pad_begin[last];
    for (int i = 0; i < count; ++i) {
      const Segment& s = segments[i];
      T* to = out + s.at;
      if (!rows[i]) {
        Zero(s.length, to);
        continue;
      }
      const int64_t first = s.column * stride + shift;
      int64_t begin = 0, end = s.length;
      if (first < 0) begin = (-first + stride - 1) / stride;
      if (first + (s.length - 1) * stride >= in_columns)
        end = in_columns > first ? (in_columns - first + stride - 1) / stride : 0;
      if (begin > s.length) begin = s.length;
      if (end < begin) end = begin;
      if (begin > 0) Zero(begin, to);
      CopyRow(end - begin, rows[i] + first + begin * stride, stride, to + begin);
      if (end < s.length) Zero(s.length - end, to + end);
    }
    // The next tap, innermost dimension first.
    int d = last;
    for (; d >= 0 && ++tap[d] == w.kernel[d]; --d) tap[d] = 0;
    if (d < 0) channel += plane;
    fresh = d != last;
  }
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
