// Steps of a linear attention's state, and of a causal convolution.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// Columns of a state that are worked on together: a state is (D, kStateColumns).
constexpr int kStateColumns = 32;

template <class T>
struct StateFunctions {
  // S[d] *= decay[d * decay_step], then r = S^T k. decay null: 1; k null: no r.
  void (*recall)(T* state, int64_t d, const T* decay, int64_t decay_step, const T* k, T* r);
  // S[d] += k[d] v.
  void (*write)(T* state, int64_t d, const T* k, const T* v);
  // o = scale S^T q.
  void (*read)(const T* state, int64_t d, const T* q, T scale, T* o);
  // y[i] = bias + sum_j w[j] x[i + j], j < k.
  void (*convolve)(T* y, const T* x, int64_t n, const T* w, int64_t k, T bias);
  // For the gradients, on whole rows: y += a x; the sum of x y.
  void (*axpy)(T* y, const T* x, int64_t n, T a);
  T (*dot)(const T* x, const T* y, int64_t n);
};

struct StateTable {
  StateFunctions<float> f32;
  StateFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(StateTable, state_table, StateSimd)
