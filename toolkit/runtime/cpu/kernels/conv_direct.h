// Convolution over one or two dimensions whose columns are read where they lie.
#pragma once

#include "kernels/conv_algorithms.h"
#include "kernels/conv_epilogue.h"

namespace toolkit {

// The geometry of the padded planes: positions of the output lie one after the other in them.
struct DirectLayout {
  explicit DirectLayout(const ConvShape& s);

  int64_t stride[2], phases[2];  // An input plane is dealt out to a plane for each residue.
  int64_t rows, pitch;           // Of a phase's plane.
  int64_t channel;               // Elements of a channel: all its phases.
};

bool DirectApplies(const ConvShape& s);
// `adjoint`: s is the adjoint of the convolution whose weights w are. Size: that of w.
void DirectWeights(const ConvShape& s, bool adjoint, const float* w, float* packed);
void DirectForward(const ConvShape& s, const float* x, const float* packed,
                   const ConvEpilogue<float>& epilogue, float* y);

}  // namespace toolkit
