// Weighted sums of rows and of gathered elements: what resampling does along the innermost axis.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

template <class T>
struct ImageRows {
  // y[i] = sum_k w[k] * x[k][i], i < n; k ascending.
  void (*blend)(int64_t n, int64_t taps, const T* w, const T* const* x, T* y);
  // y[i] = sum_k w[k * stride + i] * x[at[k * stride + i]], i < n; a negative index reads zero.
  void (*gather)(int64_t n, int64_t taps, const int32_t* at, const T* w, int64_t stride, const T* x,
                 T* y);
  // The transpose: x[at[k * stride + i]] += w[k * stride + i] * y[i], i and then k ascending.
  void (*scatter)(int64_t n, int64_t taps, const int32_t* at, const T* w, int64_t stride,
                  const T* y, T* x);
  // acc[k * stride + i] += y[i] * x[at[k * stride + i]].
  void (*dot)(int64_t n, int64_t taps, const int32_t* at, int64_t stride, const T* y, const T* x,
              T* acc);
};

struct ImageTable {
  ImageRows<float> f32;
  ImageRows<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(ImageTable, image_table, ImageSimd)
