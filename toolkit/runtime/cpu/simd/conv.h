// Inner loops of direct and Winograd convolution: rows copied into padded scratch and out of it,
// and a micro-kernel that reads its columns where they lie.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// n elements from one place to another, in elements.
struct RowCopy {
  int64_t from, to;
  int64_t n;
};

// What happens to a convolution's sum before it is stored: + bias, + residual, into [low, high].
struct RowStore {
  float bias, low, high;
  const float* residual;  // As y, or null.
};

struct ConvRows {
  int lanes, max_rows;
  // out[to + i] = x[from + i * stride]. Asks for the same rows `ahead` elements further.
  void (*load)(const RowCopy* rows, int64_t count, int64_t stride, const float* x, int64_t ahead,
               float* out);
  // y[to + i] = in[from + i], finished; NaN stays.
  void (*store)(const RowCopy* rows, int64_t count, const float* in, const RowStore& store,
                float* y);
  // c[i * ldc + j] (0 unless `add`) += sum_k a[k * rows + i] x[offsets[k] + j] for `rows` rows and
  // j below `vectors` (1 or 2) x lanes; [vectors - 1][rows].
  void (*direct[2][15])(int64_t k, const float* a, const int32_t* offsets, const float* x, bool add,
                        float* c, int64_t ldc);
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(ConvRows, conv_rows, ConvSimd)
