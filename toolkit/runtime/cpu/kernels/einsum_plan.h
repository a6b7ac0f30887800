// Einsum as a list of steps over storages, made once for the shapes of its operands: diagonals are
// taken, lone labels summed, and operands multiplied two at a time as batches of matrices. An
// operand whose strides already are those of a matrix is not copied.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace toolkit {

// An equation without ellipses: a label is a number below kLabels.
struct EinsumEquation {
  // Letters, and the dimensions that "..." stands for.
  static constexpr int kLetters = 52, kLabels = kLetters + kMaxRank;
  // Checks the text; the operands' ranks are not known yet.
  explicit EinsumEquation(const std::string& text);
  // The labels of each operand and of the output, for operands of these ranks.
  void Resolve(const std::vector<Shape>& shapes, std::vector<std::vector<int>>* operands,
               std::vector<int>* output) const;

 private:
  static constexpr int kEllipsis = -1;
  std::vector<std::vector<int>> terms_;
  std::vector<int> output_;
  bool explicit_output_ = false;
};

struct EinsumPlan {
  EinsumPlan(const EinsumEquation& equation, const std::vector<Shape>& shapes);

  // A storage: an operand, a temporary, or the output.
  static constexpr int kOutput = -1;
  struct Dimension {
    int64_t size, a, b;  // Strides in the sources, or in source and target.
    int64_t c = 0;
  };
  struct Step {
    enum Kind { kCopy, kReduce, kMultiply, kContract } kind;
    int a, b, to;
    // kCopy: a with strides `a` to strides `b`. kContract: the batch, with strides of a, b and c.
    std::vector<Dimension> dims;
    // kReduce: groups of neighbouring dimensions of the contiguous a and which are summed.
    std::vector<int64_t> sizes;
    std::vector<bool> summed;
    // kMultiply: to[batch, m, n] = a[batch, m] b[batch, n]. kContract: C(m, n) = A(m, k) B(k, n).
    int64_t batch = 1, m = 1, n = 1, k = 1;
    int64_t lda = 0, ldb = 0, ldc = 0;
    bool trans_a = false, trans_b = false;
  };

  std::vector<Shape> shapes;  // Of the operands: what the plan is for.
  Shape output;
  std::vector<Step> steps;
  std::vector<int64_t> temporaries;  // Elements; their storages follow the operands'.
};

}  // namespace toolkit
