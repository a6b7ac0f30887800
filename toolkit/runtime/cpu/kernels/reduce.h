// Reduction over any set of axes, shared by the kernels that need one.
#pragma once

#include <vector>

#include "core/kernel.h"
#include "simd/reduce.h"

namespace toolkit {

// A shape seen as alternating kept and reduced groups of neighbouring dimensions.
struct ReducePlan {
  // `reduced[i]` says whether dimension i is reduced.
  ReducePlan(const Shape& shape, const std::vector<bool>& reduced);
  struct Group {
    int64_t size;
    bool reduced;
  };
  std::vector<Group> groups;
  int64_t outputs = 1;  // Product of the kept dimensions.
  int64_t count = 1;    // Product of the reduced dimensions.
};

// Combines x over the plan's reduced groups into y (plan.outputs elements of x's type or, for
// float results, the quotient by `divisor`). x has an arithmetic type (no half precision).
// Passes: one over x, and one more over the smaller rest for each further reduced group. Parallel
// over outputs, and over fixed blocks of rows where there are few outputs.
void Reduce(KernelContext& c, ReduceOp op, const ReducePlan& plan, const void* x, DType dtype,
            void* y, double divisor = 1);

// The accumulator that no element changes.
Accumulator NeutralAccumulator(ReduceOp op, DType dtype);

// The axes of an optional int64 input or attribute list as a mask over `rank` dimensions.
std::vector<bool> AxesMask(const int64_t* axes, int64_t count, int rank);

}  // namespace toolkit
