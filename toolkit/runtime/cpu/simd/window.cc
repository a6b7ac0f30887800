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

template <class T>
TK_INLINE void CopyRow(int64_t n, const T* x, int64_t stride, T* out) {
  if (stride == 1) {
    int64_t i = 0;
    for (; i + kLanes<T> <= n; i += kLanes<T>) Store(out + i, Load(x + i));
    for (; i < n; ++i) out[i] = x[i];
  } else if (stride == 2) {
    for (int64_t i = 0; i < n; ++i) out[i] = x[2 * i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = x[i * stride];
  }
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
    Zero(width - n, out + n);
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
    if (at + span == n && at == 0) return Im2ColSpan(w, x, k0, kc, p0, n, width, out);
    // Wider than a span: rows of `width`, of which this call fills a part.
    for (int64_t k = 0; k < kc; ++k)
      Im2ColSpan(w, x, k0 + k, 1, p0 + at, span, span, out + k * width + at);
  }
  for (int64_t k = 0; k < kc; ++k) Zero(width - n, out + k * width + n);
}

template <class T>
constexpr WindowRows<T> Rows() {
  return {Axpy<T>, AxpyBack<T>, Dot<T>, Max<T>, RowSum<T>, RowMax<T>, Im2Col<T>};
}

}  // namespace

extern const WindowTable window_table = {Rows<float>(), Rows<double>()};

}  // namespace toolkit::TOOLKIT_ISA_NS
