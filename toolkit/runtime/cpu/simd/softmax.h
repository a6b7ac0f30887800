// Softmax and its relatives over rows (contiguous) and columns (n rows of `columns` elements).
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

template <class T>
struct SoftmaxFunctions {
  // y = softmax(x) or log_softmax(x) of one row; y may be x.
  void (*row)(T* y, const T* x, int64_t n);
  void (*log_row)(T* y, const T* x, int64_t n);
  // The same along columns: `stride` elements from one row to the next, in x and y.
  void (*columns)(T* y, const T* x, int64_t n, int64_t columns, int64_t stride);
  void (*log_columns)(T* y, const T* x, int64_t n, int64_t columns, int64_t stride);
  // log(sum(exp(x))) of one row, or of each column.
  T (*log_sum_exp)(const T* x, int64_t n);
  void (*log_sum_exp_columns)(T* y, const T* x, int64_t n, int64_t columns, int64_t stride);
  // y = scale exp(x - shift).
  void (*exp_scaled)(T* y, const T* x, int64_t n, T shift, T scale);
  // y[j] = scale[j] exp(x[j] - shift[j]).
  void (*exp_scaled_each)(T* y, const T* x, int64_t n, const T* shift, const T* scale);
};

struct SoftmaxTable {
  SoftmaxFunctions<float> f32;
  SoftmaxFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(SoftmaxTable, softmax_table, Softmaxes)
