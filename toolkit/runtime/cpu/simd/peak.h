// What the processor can do at most: multiply-adds in registers, and bytes from memory.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

struct PeakTable {
  // `rounds` of `operations` multiplications and additions, float32. The result depends on all.
  float (*multiply_add)(int64_t rounds, float x);
  int64_t operations;
  // The sum of n elements.
  float (*read)(const float* x, int64_t n);
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(PeakTable, peak_table, PeakSimd)
