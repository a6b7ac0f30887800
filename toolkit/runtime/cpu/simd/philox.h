// Philox4x32-10, the counter-based generator of Salmon et al. (2011), and the loops that turn its
// words into numbers.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

struct PhiloxTable {
  // Writes 4 * blocks words: the outputs for counters (block + i, offset), both 64 bits, and `key`.
  void (*words)(uint32_t* out, int64_t blocks, uint64_t block, uint64_t offset, uint64_t key);
  // y[i] = (w[i] >> 8) * 2^-24.
  void (*uniform_f32)(float* y, const uint32_t* w, int64_t n);
  // y[i] = ((w[2i] << 32 | w[2i + 1]) >> 11) * 2^-53.
  void (*uniform_f64)(double* y, const uint32_t* w, int64_t n);
  // keep = (w[i] >> 8) >= threshold; y[i] = x[i] * (keep ? scale : 0); mask[i] = keep. y may be x.
  void (*dropout_f32)(float* y, uint8_t* mask, const float* x, const uint32_t* w, int64_t n,
                      int32_t threshold, float scale);
  void (*dropout_f64)(double* y, uint8_t* mask, const double* x, const uint32_t* w, int64_t n,
                      int32_t threshold, double scale);
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(PhiloxTable, philox_table, Philox)
