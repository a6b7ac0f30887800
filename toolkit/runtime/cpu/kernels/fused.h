// Names of functions in attributes of fused kernels.
#pragma once

#include <string>

#include "simd/elementwise.h"

namespace toolkit {

// The function of one operand that a step of a program calls `name`.
UnaryOp FusedFunction(const std::string& name);

}  // namespace toolkit
