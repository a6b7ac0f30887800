// One input channel a filter: square kernels of 3, 5 and 7 over a plane.
#pragma once

#include <stdint.h>

#include "core/isa.h"
#include "simd/plane_rows.h"

namespace toolkit {

// A filter (kernel x kernel), its bias and what bounds the sum; NaN stays.
struct DepthwiseFilter {
  const float* w;
  float bias, low, high;
};

// y (rows x columns) = bias + x convolved with w, bounded. `columns` is a whole vector of 4 or 8,
// or at least `lanes`.
using DepthwiseFn = void (*)(const PlaneRowsIn& x, const DepthwiseFilter& f, int64_t rows,
                             int64_t columns, float* y);

struct DepthwiseTable {
  int lanes;
  DepthwiseFn fn[3][2][2];  // [kernel / 2 - 1][stride of rows - 1][of columns - 1].
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(DepthwiseTable, depthwise_table, DepthwiseSimd)
