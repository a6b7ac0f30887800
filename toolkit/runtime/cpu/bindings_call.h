#pragma once

#include <nanobind/nanobind.h>

namespace toolkit {

// Adds `Call` to the module.
void BindCall(nanobind::module_& m);

}  // namespace toolkit
