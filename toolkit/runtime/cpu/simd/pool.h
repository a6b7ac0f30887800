// The largest of each square window over a plane without padding.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// y (rows x columns); x's rows are `pitch` apart. NaN wins.
using MaxPoolFn = void (*)(const float* x, int64_t pitch, int64_t rows, int64_t columns, float* y);

struct PoolTable {
  int lanes;
  MaxPoolFn max[2][2];  // [kernel - 2][stride - 1].
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(PoolTable, pool_table, PoolSimd)
