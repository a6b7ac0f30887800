// Products of float32 rows and a constant matrix that is stored narrow and widened in registers.
//
// The matrix (K, N) lies in panels of nr columns. A panel is groups of steps of K, each: the scales
// of its columns (nr floats), their zero points if there are any (nr floats), and the group's rows.
// An element is scale * (code - zero). A row of a format takes nr * RowBits / 8 bytes; of kInt4,
// byte j holds column j in its low and column j + nr / 2 in its high half.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

enum class WeightFormat { kInt8, kInt4, kFloat16, kBFloat16, kCount };

constexpr int kMaxWeightRows = 4;  // Of the left operand, that share a pass over the matrix.

struct WeightPanel {
  const uint8_t* data;
  int64_t k;      // Steps of K in all.
  int64_t group;  // Steps that share a scale; the last group may have fewer.
  bool zeros;
};

// y[i * ldy + j] = sum_k x[i * ldx + k] W[k, j] for the panel's columns. sums[i * groups + g]: of
// x's elements in a group; not read without zero points.
using WeightRowsFn = void (*)(const WeightPanel& panel, const float* x, int64_t ldx,
                              const float* sums, float* y, int64_t ldy);

struct WeightKernels {
  int nr;  // Of the matrix product, so that unpacked panels are its own.
  WeightRowsFn rows[kMaxWeightRows + 1];
  // out[k * nr + j] = W[k0 + k, j] for k < kc.
  void (*unpack)(const WeightPanel& panel, int64_t k0, int64_t kc, float* out);
  // One row of the matrix as the format stores it: codes in [-128, 127], or the floats' bits.
  void (*pack_row)(const void* codes, uint8_t* out);
};

struct WeightTable {
  // Without functions where the instruction set cannot widen the format.
  WeightKernels formats[static_cast<int>(WeightFormat::kCount)];
};

constexpr int64_t WeightRowBytes(WeightFormat format, int64_t nr) {
  switch (format) {
    case WeightFormat::kInt8:
      return nr;
    case WeightFormat::kInt4:
      return nr / 2;
    default:
      return nr * 2;
  }
}

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(WeightTable, weight_table, WeightFunctions)
