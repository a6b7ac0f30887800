// The largest of each square window over a plane.
#pragma once

#include <stdint.h>

#include "core/isa.h"
#include "simd/plane_rows.h"

namespace toolkit {

// y (rows x columns); NaN wins, and a window of padding alone gives minus infinity. `columns` is a
// whole vector of 4 or 8, or at least `lanes`.
using MaxPoolFn = void (*)(const PlaneRowsIn& x, int64_t rows, int64_t columns, float* y);

struct PoolTable {
  int lanes;
  MaxPoolFn max[2][2][2];  // [kernel - 2][stride of rows - 1][of columns - 1].
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(PoolTable, pool_table, PoolSimd)
