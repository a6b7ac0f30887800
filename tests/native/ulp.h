// float32 functions and what they should give, in double.
#pragma once

#include <cstdint>
#include <vector>

#include "simd/elementwise.h"

namespace toolkit {

struct Function {
  const char* name;
  UnaryOp op;
  void (*exact)(double* y, const double* x, int64_t n);
  std::vector<double> params;
};

const std::vector<Function>& Functions();
void ExactPow(double* y, const double* x, double exponent, int64_t n);
void ExactRsqrt(double* y, const double* x, int64_t n);

}  // namespace toolkit
