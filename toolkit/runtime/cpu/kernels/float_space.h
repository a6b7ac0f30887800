// Workspace of a kernel: uninitialized floats.
#pragma once

#include <memory>

#include "core/tensor.h"

namespace toolkit {

struct FloatSpace {
  explicit FloatSpace(int64_t count)
      : buffer(Buffer::Allocate(static_cast<size_t>(count) * sizeof(float))) {}
  float* data() const { return reinterpret_cast<float*>(buffer->data()); }
  std::shared_ptr<Buffer> buffer;
};

}  // namespace toolkit
