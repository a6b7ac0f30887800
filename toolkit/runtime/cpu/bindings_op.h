#pragma once

#include <nanobind/nanobind.h>

#include <exception>

#include "core/attributes.h"

namespace toolkit {

// Adds `Op` to the module; after Tensor.
void BindOp(nanobind::module_& m);

// Of bindings.cc.
Attributes ToAttributes(const nanobind::dict& dict);
void Translate(const std::exception_ptr& p, void*);

}  // namespace toolkit
