// Shapes of numpy.matmul.
#pragma once

#include "core/tensor.h"

namespace toolkit {

struct MatMulShapes {
  MatMulShapes(const Shape& a, const Shape& b) {
    TK_REQUIRE(a.rank() > 0 && b.rank() > 0, ErrorKind::kShape,
               "operands must have at least one dimension, got A ", a.ToString(), " and B ",
               b.ToString());
    m = a.rank() == 1 ? 1 : a[a.rank() - 2];
    k = a[a.rank() - 1];
    n = b.rank() == 1 ? 1 : b[b.rank() - 1];
    TK_REQUIRE(k == b[b.rank() == 1 ? 0 : b.rank() - 2], ErrorKind::kShape,
               "inner dimensions must match, got A ", a.ToString(), " and B ", b.ToString());
    a_batch = Shape(a.begin(), a.rank() > 2 ? a.rank() - 2 : 0);
    b_batch = Shape(b.begin(), b.rank() > 2 ? b.rank() - 2 : 0);
    batch = BroadcastShapes(a_batch, b_batch);
    out = batch;
    if (a.rank() > 1) out.push_back(m);
    if (b.rank() > 1) out.push_back(n);
  }

  // Offset, in matrices, of the operand that output matrix `index` takes.
  int64_t Source(const Shape& operand, int64_t index) const {
    int64_t offset = 0, stride = 1;
    for (int i = 1; i <= batch.rank(); ++i) {
      const int64_t dim = batch[batch.rank() - i], at = index % dim;
      index /= dim;
      if (i > operand.rank()) continue;
      const int64_t own = operand[operand.rank() - i];
      if (own != 1) offset += at * stride;
      stride *= own;
    }
    return offset;
  }

  int64_t m, k, n;
  Shape a_batch, b_batch, batch, out;
};

}  // namespace toolkit
