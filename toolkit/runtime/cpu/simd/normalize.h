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
  // Over `spans` spans of n elements, `stride` apart, with d = x - shift:
  // out += {sum(d), sum(d^2)}, and {sum(d), sum(d^2), sum(dy), sum(dy d)}.
  void (*span_moments)(double* out, const T* x, int64_t spans, int64_t stride, int64_t n, T shift);
  void (*span_grad_sums)(double* out, const T* x, const T* dy, int64_t spans, int64_t stride,
                         int64_t n, T shift);
  // y = (x - mean) scale + shift, by one of each, or by one for each element.
  void (*affine)(T* y, const T* x, int64_t n, T mean, T scale, T shift);
  void (*affine_vector)(T* y, const T* x, int64_t n, const T* mean, const T* scale, const T* shift);
  // y = (x - mean) rstd scale[i] + bias[i]; scale and bias may be null.
  void (*affine_each)(T* y, const T* x, int64_t n, T mean, T rstd, const T* scale, const T* bias);
  // y = a x + b (z - mean) + c.
  void (*combine)(T* y, const T* x, const T* z, int64_t n, T a, T b, T mean, T c);
  // The same with one a, b, mean, c for each element.
  void (*combine_each)(T* y, const T* x, const T* z, int64_t n, const T* a, const T* b,
                       const T* mean, const T* c);
  // Over rows of n elements: sum[j] += x[r, j], dot[j] += x[r, j] (z[r, j] - shift[j]), and
  // sum[j] += (x[r, j] - shift[j])^2.
  void (*column_dot_sums)(double* sum, double* dot, const T* x, const T* z, const T* shift,
                          int64_t rows, int64_t n);
  void (*column_squares)(double* sum, const T* x, const T* shift, int64_t rows, int64_t n);
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
