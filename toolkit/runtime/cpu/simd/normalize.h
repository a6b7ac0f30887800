// Statistics and affine passes of the normalization operators, over rows and columns.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

template <class T>
struct NormalizeFunctions {
  // dx of softmax from y and dy, along n elements `stride` apart, for m neighbouring columns.
  void (*softmax_grad)(T* dx, const T* y, const T* dy, int64_t n, int64_t m, int64_t stride);
  void (*log_softmax_grad)(T* dx, const T* y, const T* dy, int64_t n, int64_t m, int64_t stride);
  // Mean and biased variance of a row; the variance in a second pass around the mean.
  void (*moments)(const T* x, int64_t n, double* mean, double* variance);
  // sum(x), and sum((x - shift)^2), of a row.
  double (*sum)(const T* x, int64_t n);
  double (*sum_square)(const T* x, int64_t n, T shift);
  // sum(x), sum(x (y - shift)).
  void (*dot_sums)(const T* x, const T* y, int64_t n, T shift, double* sum, double* dot);
  // y = x scale + shift, by one scale and shift.
  void (*affine)(T* y, const T* x, int64_t n, T scale, T shift);
  // y = (x - mean) rstd scale[i] + bias[i]; scale and bias may be null.
  void (*affine_each)(T* y, const T* x, int64_t n, T mean, T rstd, const T* scale, const T* bias);
  // y = a x + b z + c.
  void (*combine)(T* y, const T* x, const T* z, int64_t n, T a, T b, T c);
  // LayerNorm: dx of one row, and dscale, dbias added up (either may be null).
  void (*layer_norm_grad)(T* dx, T* dscale, T* dbias, const T* x, const T* scale, const T* dy,
                          int64_t n, T mean, T rstd);
};

struct NormalizeTable {
  NormalizeFunctions<float> f32;
  NormalizeFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(NormalizeTable, normalize_table, NormalizeTables)
