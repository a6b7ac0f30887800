// One input channel a filter: square kernels of 3, 5 and 7 over a plane without padding.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// y (rows x columns) = init + x convolved with w (kernel x kernel); x's rows are `pitch` apart.
using DepthwiseFn = void (*)(const float* x, int64_t pitch, const float* w, float init,
                             int64_t rows, int64_t columns, float* y);

struct DepthwiseTable {
  int lanes;
  DepthwiseFn fn[3][2];  // [kernel / 2 - 1][stride - 1].
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(DepthwiseTable, depthwise_table, DepthwiseSimd)
