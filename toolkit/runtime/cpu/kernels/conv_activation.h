// The activation that a fused convolution ends with.
#pragma once

#include "core/attributes.h"
#include "kernels/conv_epilogue.h"

namespace toolkit {

// From the attributes `activation`, an operator's name or "", and `activation_params`: its float
// attributes in the order of its schema; Clip: its bounds.
class ConvActivation {
 public:
  explicit ConvActivation(const Attributes& attributes);

  template <class T>
  void Apply(ConvEpilogue<T>* epilogue) const;

 private:
  bool bounded_ = false;
  double low_ = 0, high_ = 0;
  UnaryOp op_ = UnaryOp::kCount;
  double params_[2] = {0, 0};
};

}  // namespace toolkit
