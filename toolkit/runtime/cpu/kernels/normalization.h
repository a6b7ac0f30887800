// What the normalization kernel files share.
#pragma once

#include "kernels/elementwise.h"
#include "simd/normalize.h"
#include "simd/softmax.h"

namespace toolkit {

template <class T>
const SoftmaxFunctions<T>& SoftmaxOf();
template <>
const SoftmaxFunctions<float>& SoftmaxOf<float>();
template <>
const SoftmaxFunctions<double>& SoftmaxOf<double>();

template <class T>
const NormalizeFunctions<T>& Normalizations() {
  if constexpr (sizeof(T) == 4)
    return NormalizeTables().f32;
  else
    return NormalizeTables().f64;
}

}  // namespace toolkit
