// Convolution of 8-bit integers with one input channel a group.
#pragma once

#include <vector>

#include "kernels/conv_algorithms.h"
#include "kernels/gemm_int8.h"

namespace toolkit {

// What becomes of the sums; zero points and bias are those of ConvInt8.
struct DepthwiseOutput {
  const Tensor& y;           // int32, int8 or uint8.
  const float* multipliers;  // Of each output channel; for 8 bits.
  int32_t zero;
};

// False where the shape or the weights are none that it can do: nothing is written then.
bool DepthwiseInt8(KernelContext& c, const ConvShape& s, const Tensor& x, const Tensor& w,
                   int32_t x_zero, const std::vector<int32_t>& w_zeros, const int32_t* bias,
                   const DepthwiseOutput& out);

}  // namespace toolkit
