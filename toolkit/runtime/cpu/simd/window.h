// Rows under a sliding window: what convolution and pooling do along the innermost dimension.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

constexpr int kMaxSpatialRank = 14;

// A resolved window over `rank` spatial dimensions.
struct Window {
  int rank;
  int64_t in[kMaxSpatialRank], out[kMaxSpatialRank];
  int64_t kernel[kMaxSpatialRank], stride[kMaxSpatialRank], dilation[kMaxSpatialRank];
  int64_t pad_begin[kMaxSpatialRank], pad_end[kMaxSpatialRank];
};

// Input rows under one output row; every tap of its n columns lies inside.
template <class T>
struct TapRow {
  int64_t n;
  int rows;  // 0 where the window lies in the padding.
  const T* const* x;
  const T* const* w;  // Weights of each row; null but for convolution.
  int64_t taps, dilation, stride;
};

template <class T>
struct WindowRows {
  // out[j * k + b] = rows[b * ld + j] + add for j < n, b < k.
  void (*interleave)(int64_t k, int64_t n, const T* rows, int64_t ld, T add, T* out);
  // x[i * stride] += w * y[i], i < n.
  void (*axpy_back)(int64_t n, T w, const T* y, T* x, int64_t stride);
  // sum_i y[i] * x[i * stride].
  T (*dot)(int64_t n, const T* y, const T* x, int64_t stride);
  // Over rows r and taps t, ascending, of x(r, t) = x[r][i * stride + t * dilation], for i < n:
  // y[i] = init + sum of w[r][t] x(r, t); sum of x(r, t); largest x(r, t), where NaN wins.
  void (*taps)(const TapRow<T>& row, T init, T* y);
  void (*sum_taps)(const TapRow<T>& row, T* y);
  void (*max_taps)(const TapRow<T>& row, T* y);
  // The largest, and in `tap` the first r * taps + t that has it.
  void (*argmax_taps)(const TapRow<T>& row, T* y, int32_t* tap);
  // acc[(r * taps + t) * lanes + l] += y[i] * x(r, t), for i < n: spread over `lanes` partial
  // sums l.
  void (*dot_taps)(const TapRow<T>& row, const T* y, T* acc);
  int lanes;
  // The sum, and the largest (NaN wins; n > 0), of a row.
  T (*row_sum)(int64_t n, const T* x);
  T (*row_max)(int64_t n, const T* x);
  // Im2col: out[(k - k0) * width + p - p0] = x under tap k of output position p, for k = (channel,
  // taps) in [k0, k0 + kc) and p in [p0, p0 + n). The window must have no padding: every tap lies
  // inside. Nothing else is written.
  void (*im2col)(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t p0, int64_t n,
                 int64_t width, T* out);
};

struct WindowTable {
  WindowRows<float> f32;
  WindowRows<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(WindowTable, window_table, WindowSimd)
