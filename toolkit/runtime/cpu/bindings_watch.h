#pragma once

#include <nanobind/nanobind.h>

namespace toolkit {

// Adds `unchanged` to the module.
void BindWatch(nanobind::module_& m);

}  // namespace toolkit
