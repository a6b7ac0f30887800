// Reductions of rows and of columns. Results depend only on the data, never on a split: callers cut
// long rows at multiples of kReduceBlock and add the pieces in order.
#pragma once

#include <stdint.h>

#include "simd/elementwise.h"

namespace toolkit {

enum class ReduceOp { kSum, kSumSquare, kSumAbs, kMax, kMin, kProd, kCount };

// Accumulators have 8 bytes: double for floats, int64_t or uint64_t for integers.
union Accumulator {
  double f;
  int64_t i;
  uint64_t u;
};

// acc = acc (+) x[0] (+) ... (+) x[n - 1].
using ReduceRowFn = void (*)(Accumulator* acc, const void* x, int64_t n);
// acc[j] = acc[j] (+) x[0, j] (+) ... (+) x[rows - 1, j]; rows are `stride` elements apart.
using ReduceColumnsFn = void (*)(Accumulator* acc, const void* x, int64_t rows, int64_t columns,
                                 int64_t stride);

constexpr int64_t kReduceBlock = 4096;   // At most so many are summed in float32, then in float64.
constexpr int64_t kReduceRowBlock = 64;  // Rows, in a reduction of columns.

struct ReduceTable {
  ReduceRowFn row[static_cast<int>(ReduceOp::kCount)][kElements];
  ReduceColumnsFn columns[static_cast<int>(ReduceOp::kCount)][kElements];
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(ReduceTable, reduce_table, Reductions)
