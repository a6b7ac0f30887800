// Elementwise arithmetic on 8-bit codes, by the numbers that they stand for, and pools of them.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// (code - zero) * scale of two operands; a result is saturate(round(y / scale) + zero), its code
// not below `low`. Zeros and bounds hold whole numbers. All is float32, each step rounded.
struct CodesArgs {
  float a_scale, a_zero, b_scale, b_zero, scale, zero, low, high;
};
// y[i] = f(a[i * a_step], b[i * b_step]), steps 0 or 1; y may be a or b. `args`: CodesArgs.
using CodesFn = void (*)(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step,
                         const void* args);

struct CodesTable {
  CodesFn add[2], mul[2];  // Of int8, of uint8.
  // y[i] = table[x[i]] of 256 bytes; y may be x. The second needs AVX-512 VBMI; null without.
  void (*look_up)(const uint8_t* table, const uint8_t* x, int64_t n, uint8_t* y);
  void (*look_up_vbmi)(const uint8_t* table, const uint8_t* x, int64_t n, uint8_t* y);
  // Over rows: y[j] = the largest x[t][j]; sum[j] = their sum, t < count, j < n.
  void (*max_rows)(const uint8_t* const* x, int64_t count, int64_t n, uint8_t* y);
  void (*sum_rows)(const uint8_t* const* x, int64_t count, int64_t n, int32_t* sum);
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(CodesTable, codes_table, CodesFunctions)
