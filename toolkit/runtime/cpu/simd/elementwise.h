// Functions over spans of elements: what a tile program calls, one tile at a time.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// y[i] = f(x[i]), i < n; y may be x.
using UnaryFn = void (*)(void* y, const void* x, int64_t n);
// y[i] = f(a[i * a_step], b[i * b_step]) with steps of 0 or 1; y may be a or b.
using BinaryFn = void (*)(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step);

enum ElementType { kF32, kF64, kI32, kI64, kElementTypes };

struct ElementwiseTable {
  UnaryFn relu[kElementTypes];
  BinaryFn add[kElementTypes];
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(ElementwiseTable, elementwise_table, Elementwise)
