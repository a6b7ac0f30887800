// Transposes of small matrices held in cache: what a blocked transpose calls, one tile at a time.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// dst[c][r] = src[r][c] for r < rows, c < cols; strides in bytes between rows of each.
using TransposeTileFn = void (*)(char* dst, int64_t dst_stride, const char* src, int64_t src_stride,
                                 int64_t rows, int64_t cols);

struct TransposeTable {
  TransposeTileFn tile[5];  // By log2 of the element's size: 1, 2, 4, 8, 16 bytes.
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(TransposeTable, transpose_table, TransposeTiles)
