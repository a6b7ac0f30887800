// Affine quantization over spans: y = saturate(round(x / scale) + zero), x = (y - zero) * scale.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// How a quotient is rounded before it is rounded to an integer: the precision of the division.
enum class Precision { kFloat, kFloat16, kBFloat16, kCount };

// `scale` and `zero` move by `step` (0 or 1) with the elements. Zeros hold whole numbers.
struct Affine {
  const float* scale;
  const float* zero;
  int step;
};

// y[i] in [low, high]; NaN becomes low.
using QuantizeFn = void (*)(void* y, const float* x, int64_t n, const Affine& affine, float low,
                            float high);
using DequantizeFn = void (*)(float* y, const void* x, int64_t n, const Affine& affine);

// Rows of products to quantized values: y[j] = saturate(round(multiplier[j * step] (x[j] + bias)) +
// zero), as if in float64, so that only the multiplier is inexact. x and y are apart.
struct Requantize {
  const float* multiplier;
  int step;
  int32_t bias;
  int32_t zero, low, high;
};
using RequantizeFn = void (*)(void* y, const int32_t* x, int64_t n, const Requantize& r);

enum class Quantized { kI8, kU8, kI16, kU16, kI32, kCount };

struct QuantizeTable {
  // kI32 only by dequantize.
  QuantizeFn quantize[static_cast<int>(Precision::kCount)][static_cast<int>(Quantized::kI32)];
  DequantizeFn dequantize[static_cast<int>(Quantized::kCount)];
  RequantizeFn requantize[2];  // To int8, to uint8.
  // y = x / scale + zero, the quotient rounded to the precision; and (x - zero) * scale.
  void (*divide[static_cast<int>(Precision::kCount)])(float* y, const float* x, int64_t n,
                                                      const Affine& affine);
  void (*multiply)(float* y, const float* x, int64_t n, const Affine& affine);
  // Extends [*low, *high] to hold x; NaN is passed over.
  void (*range)(const float* x, int64_t n, float* low, float* high);
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(QuantizeTable, quantize_table, QuantizeFunctions)
