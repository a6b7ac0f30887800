// What follows a convolution's sum before it is stored: bias, residual, activation.
#pragma once

#include <limits>

#include "simd/conv.h"
#include "simd/elementwise.h"

namespace toolkit {

// y = activation(sum + bias + residual): bounds for Relu and Clip, a function for the others.
template <class T>
struct ConvEpilogue {
  const T* bias = nullptr;      // An element an output channel.
  const T* residual = nullptr;  // As y.
  T low = -std::numeric_limits<T>::infinity(), high = std::numeric_limits<T>::infinity();
  UnaryFn activation = nullptr;
  const double* params = nullptr;

  bool bounded() const {
    return low != -std::numeric_limits<T>::infinity() || high != std::numeric_limits<T>::infinity();
  }
  bool only_bias() const { return !residual && !activation && !bounded(); }
};

// Stores one channel's rows out of scratch; `image`: where y's image begins, also in the residual.
inline void StoreChannel(const RowCopy* rows, int64_t count, const float* scratch,
                         const ConvEpilogue<float>& e, int64_t channel, int64_t offset, float* y) {
  const RowStore store = {e.bias ? e.bias[channel] : 0.0f, e.low, e.high,
                          e.residual ? e.residual + offset : nullptr};
  ConvSimd().store(rows, count, scratch, store, y + offset);
  if (!e.activation) return;
  for (int64_t i = 0; i < count; ++i) {
    float* row = y + offset + rows[i].to;
    e.activation(row, row, rows[i].n, e.params);
  }
}

// The rest of an epilogue after the bias, over y[begin, end).
template <class T>
void FinishRange(const ConvEpilogue<T>& e, int64_t begin, int64_t end, T* y) {
  if (e.only_bias()) return;
  if constexpr (sizeof(T) == sizeof(float)) {
    const RowCopy row = {begin, begin, end - begin};
    ConvSimd().store(&row, 1, y, {0.0f, e.low, e.high, e.residual}, y);
  } else {
    for (int64_t i = begin; i < end; ++i) {
      T v = y[i];
      if (e.residual) v += e.residual[i];
      v = v < e.low ? e.low : v;
      y[i] = v > e.high ? e.high : v;
    }
  }
  if (e.activation) e.activation(y + begin, y + begin, end - begin, e.params);
}

}  // namespace toolkit
