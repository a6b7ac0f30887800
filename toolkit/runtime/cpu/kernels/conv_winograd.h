// Convolution with 3 x 3 taps and stride 1 by Winograd's F(m x m, 3 x 3): simd/winograd.h.
#pragma once

#include "kernels/conv_algorithms.h"
#include "kernels/conv_epilogue.h"

namespace toolkit {

// Elements of the transformed weights of all groups.
int64_t WinogradWeightSize(const ConvShape& s, int m);
// `adjoint`: s is the adjoint of the convolution whose weights w are, channels exchanged.
void WinogradWeights(const ConvShape& s, int m, bool adjoint, const float* w, float* packed);
void WinogradForward(const ConvShape& s, int m, const float* x, const float* packed,
                     const ConvEpilogue<float>& epilogue, float* y);

// Whether weights of one call are better transformed where they are used, and that call.
bool WinogradOnce(const ConvShape& s, int m);
void WinogradForwardOnce(const ConvShape& s, int m, bool adjoint, const float* x, const float* w,
                         const ConvEpilogue<float>& epilogue, float* y);

void WinogradWeightGradient(const ConvShape& s, int m, const float* x, const float* dy, float* dw);

}  // namespace toolkit
