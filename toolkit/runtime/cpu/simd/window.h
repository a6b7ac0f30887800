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

template <class T>
struct WindowRows {
  // y[i] += w * x[i * stride], i < n.
  void (*axpy)(int64_t n, T w, const T* x, int64_t stride, T* y);
  // x[i * stride] += w * y[i], i < n.
  void (*axpy_back)(int64_t n, T w, const T* y, T* x, int64_t stride);
  // sum_i y[i] * x[i * stride].
  T (*dot)(int64_t n, const T* y, const T* x, int64_t stride);
  // y[i] = init + sum over rows r and taps t of w[r][t] * x[r][i * stride + t * dilation], i < n:
  // rows and taps ascending.
  void (*taps)(int64_t n, int rows, const T* const* x, const T* const* w, int64_t taps,
               int64_t dilation, int64_t stride, T init, T* y);
  // y[i] = max(y[i], x[i * stride]), i < n; NaN wins.
  void (*max)(int64_t n, const T* x, int64_t stride, T* y);
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
