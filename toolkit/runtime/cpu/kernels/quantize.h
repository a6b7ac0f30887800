// What the quantization kernels share: granularity of scales, widened parameters.
#pragma once

#include <algorithm>

#include "kernels/convert.h"
#include "simd/quantize.h"

namespace toolkit {

// Which scale an element takes: one for all, one for each index of an axis, or one for each block
// of indices of an axis and each index of the others.
class Granularity {
 public:
  Granularity(const Shape& x, const Shape& scale, int64_t axis, int64_t block_size);

  // Calls fn(offset, n, scale index, step) for the spans of elements [begin, end) whose scales lie
  // side by side (step 1) or are one (step 0).
  template <class Fn>
  void ForEachSpan(int64_t begin, int64_t end, Fn&& fn) const {
    for (int64_t at = begin, n; at < end; at += n) {
      if (kind_ == kTensor) {
        fn(at, n = end - at, int64_t{0}, 0);
        continue;
      }
      const int64_t i = at % inner_, a = at / inner_ % axis_, o = at / inner_ / axis_;
      const int64_t block = o * blocks_ + a / block_;
      if (inner_ > 1) {
        n = std::min(inner_ - i, end - at);
        fn(at, n, kind_ == kAxis ? a : block * inner_ + i, kind_ == kAxis ? 0 : 1);
      } else if (kind_ == kAxis) {
        n = std::min(axis_ - a, end - at);
        fn(at, n, a, 1);
      } else {
        n = std::min({block_ - a % block_, axis_ - a, end - at});
        fn(at, n, block, 0);
      }
    }
  }

 private:
  enum Kind { kTensor, kAxis, kBlocked };
  Kind kind_ = kTensor;
  int64_t inner_ = 1, axis_ = 1, block_ = 1, blocks_ = 1;
};

// A scale or zero point in float32; of the tensor's own memory where it is that already. Null: as
// many zeros as `like` has elements.
const float* WidenedParameters(KernelContext& c, const Tensor* x, const Tensor& like);

// The one float32 number, or the one code of `type`, that an input must be.
float OneScale(KernelContext& c, int input);
int32_t OneZero(KernelContext& c, int input, DType type);

// Fails unless the zero point, if there is one, has the scale's shape and `dtype`.
void CheckZeroPoint(const Tensor* zero, const Tensor& scale, DType dtype);

}  // namespace toolkit
