// Rows of attention scores: what the attention kernels call between their matrix products.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

template <class T>
struct AttentionFunctions {
  void (*softcap)(T* s, int64_t n, T cap);               // s = cap tanh(s / cap).
  void (*add)(T* s, const T* bias, int64_t n);           // s += bias.
  void (*mask)(T* s, const uint8_t* keep, int64_t n);    // s = -inf where keep is 0.
  T (*max)(const T* s, int64_t n);                       // NaN if there is one.
  T (*exp_sum)(T* s, int64_t n, T shift);                // s = exp(s - shift); its sum.
  void (*scale)(T* y, const T* x, int64_t n, T factor);  // y = factor x; y may be x.
  T (*dot)(const T* x, const T* y, int64_t n);           // sum of x y.
  // s[j] = sum_i q[i] k[j * ld + i], j < n: one query, keys as they lie.
  void (*scores)(T* s, const T* q, const T* k, int64_t ld, int64_t size, int64_t n);
  // y[i] += sum_j p[j] v[j * ld + i], i < size.
  void (*weigh)(T* y, const T* p, const T* v, int64_t ld, int64_t size, int64_t n);
  void (*softmax_grad)(T* g, const T* p, int64_t n, T delta);  // g = p (g - delta).
  void (*softcap_grad)(T* g, const T* z, int64_t n, T cap);    // g *= 1 - (z / cap)^2.
};

template <class T>
struct RotaryFunctions {
  // (y1, y2) = (c x1 - s x2, s x1 + c x2), n pairs: two halves, or neighbours.
  void (*halves)(T* y, const T* x, const T* cos, const T* sin, int64_t n);
  void (*neighbours)(T* y, const T* x, const T* cos, const T* sin, int64_t n);
};

struct AttentionTable {
  AttentionFunctions<float> f32;
  AttentionFunctions<double> f64;
  RotaryFunctions<float> rotary_f32;
  RotaryFunctions<double> rotary_f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(AttentionTable, attention_table, AttentionSimd)
