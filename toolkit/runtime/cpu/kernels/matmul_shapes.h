// Shapes of numpy.matmul.
#pragma once

#include <string>

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
    TK_REQUIRE(k == b[b.rank() == 1 ? 0 : b.rank() - 2], ErrorKind::kShape, AsTorchSays(a, b),
               ": inner dimensions must match, got A ", a.ToString(), " and B ", b.ToString());
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

  // The words that PyTorch has for inner dimensions that differ, as users search for them.
  static std::string AsTorchSays(const Shape& a, const Shape& b) {
    const auto text = [](int64_t n) { return std::to_string(n); };
    const int ra = a.rank(), rb = b.rank();
    const std::string k = text(a[ra - 1]), kb = text(b[rb == 1 ? 0 : rb - 2]);
    if (ra == 1 && rb == 1)
      return "inconsistent tensor size, expected tensor [" + k + "] and src [" + kb +
             "] to have the same number of elements, but got " + k + " and " + kb +
             " elements respectively";
    const std::string rows = text(a.Count(0, ra - 1));
    if (rb == 1)
      return "size mismatch, got input (" + rows + "), mat (" + rows + "x" + k + "), vec (" + kb +
             ")";
    if (rb == 2)
      return "mat1 and mat2 shapes cannot be multiplied (" + rows + "x" + k + " and " + kb + "x" +
             text(b[1]) + ")";
    const Shape of_a(a.begin(), ra > 2 ? ra - 2 : 0), of_b(b.begin(), rb - 2);
    const Shape batch = BroadcastShapes(of_a, of_b);
    const std::string count = text(batch.Count(0, batch.rank()));
    return "Expected size for first two dimensions of batch2 tensor to be: [" + count + ", " + k +
           "] but got: [" + count + ", " + kb + "]";
  }

  int64_t m, k, n;
  Shape a_batch, b_batch, batch, out;
};

}  // namespace toolkit
