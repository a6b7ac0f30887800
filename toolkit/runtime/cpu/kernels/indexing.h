// Indices as kernels take them: int64 or int32 tensors, possibly negative, always checked.
#pragma once

#include "core/kernel.h"

namespace toolkit {

// A copy of `indices` in scratch memory, wrapped into [0, bound); fails on one out of range.
const int64_t* NormalizeIndices(KernelContext& c, const Tensor& indices, int64_t bound);

// Offsets in rows, one per index tuple: the last axis of `indices` addresses the axes
// [batch_dims, batch_dims + depth) of `shape`; rows are what lies below them.
const int64_t* TupleOffsets(KernelContext& c, const Tensor& indices, const Shape& shape,
                            int batch_dims);

// How the elements of `indices` lie against data of the same rank when they replace the coordinate
// `axis`: indices are (outer, length, inner), and the element of data that index v at (o, l, i)
// names is outer_offset[o] + v * stride + inner_offset[i]. (l is free: it is what v replaces.)
struct Lanes {
  int axis;
  int64_t outer, length, inner;
  int64_t stride;
  const int64_t* outer_offset;  // Scratch memory.
  const int64_t* inner_offset;
};
Lanes LanesOf(KernelContext& c, const Shape& data, const Shape& indices, int64_t axis);

}  // namespace toolkit
