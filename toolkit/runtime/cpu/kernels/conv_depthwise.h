// Convolutions with one input channel a group.
#pragma once

#include "kernels/conv_algorithms.h"

namespace toolkit {

template <class T>
void DepthwiseForward(const ConvShape& s, const T* x, const T* w, const ConvEpilogue<T>& epilogue,
                      T* y);
template <class T>
void DepthwiseWeightGradient(const ConvShape& s, const T* x, const T* dy, T* dw);

}  // namespace toolkit
