// What LinearAttention and its gradient share: the checked shapes of a call.
//
// Letters: B batch, T steps, H heads, D size of keys, M size of values. A state is (D, M).
#pragma once

#include <algorithm>
#include <cmath>

#include "core/kernel.h"
#include "simd/elementwise.h"
#include "simd/linear_attention.h"

namespace toolkit {

template <class T>
const StateFunctions<T>& StateOf() {
  if constexpr (sizeof(T) == 4)
    return StateSimd().f32;
  else
    return StateSimd().f64;
}

struct LinearAttentionAttributes {
  explicit LinearAttentionAttributes(const Attributes& a);
  int64_t q_heads, kv_heads;
  double scale;
  bool gated, delta;
};

// Inputs query, key, value, past_state, decay, beta, in this order.
struct LinearAttentionShape {
  LinearAttentionShape(const LinearAttentionAttributes& a, const KernelContext& c);
  int64_t group() const { return q_heads / kv_heads; }
  Shape Output() const { return {batch, steps, q_heads * values}; }
  Shape State() const { return {batch, kv_heads, keys, values}; }
  int64_t batch, steps, q_heads, kv_heads, keys, values;
  bool decay_by_key;  // decay is (B, T, Hkv D), else (B, T, Hkv).
  bool beta_by_head;  // beta is (B, T, Hkv), else (B, T, 1).
  double scale;
};

// y = exp(x).
template <class T>
void ExpOf(const T* x, T* y, int64_t n) {
  constexpr auto kType = sizeof(T) == 4 ? Element::kF32 : Element::kF64;
  UnaryFunctions().fn[static_cast<int>(UnaryOp::kExp)][static_cast<int>(kType)](y, x, n, nullptr);
}

}  // namespace toolkit
