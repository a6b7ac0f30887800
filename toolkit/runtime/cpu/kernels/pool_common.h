// What the pools share: attributes, shapes, the walk over planes.
#pragma once

#include <algorithm>

#include "core/kernel.h"
#include "kernels/window.h"

namespace toolkit {

struct PoolAttributes {
  explicit PoolAttributes(const Attributes& attributes)
      : window(attributes), ceil_mode(attributes.Int("ceil_mode", 0) != 0) {
    TK_REQUIRE(!window.kernel_shape.empty(), ErrorKind::kInvalidArgument,
               "attribute kernel_shape is required, got none");
  }

  Window Resolve(const Shape& x) const {
    const Window w = window.Resolve(x, window.kernel_shape, ceil_mode);
    for (int d = 0; d < w.rank; ++d)
      TK_REQUIRE(std::max(w.pad_begin[d], w.pad_end[d]) < Extent(w, d), ErrorKind::kInvalidArgument,
                 "pads must be smaller than the kernel, got padding ", w.pad_begin[d], " and ",
                 w.pad_end[d], " for a kernel of extent ", Extent(w, d), " in spatial dimension ",
                 d);
    return w;
  }

  WindowAttributes window;
  bool ceil_mode;
};

inline Shape PoolShape(const Shape& x, const Window& w) {
  Shape y = {x[0], x[1]};
  for (int d = 0; d < w.rank; ++d) y.push_back(w.out[d]);
  return y;
}

// Planes of `work` operations each that are enough for a thread.
inline int64_t PlaneGrain(int64_t work) { return 1 + 16384 / std::max<int64_t>(1, work); }

// Calls fn(begin, end) for ranges of planes, in parallel. `work`: operations of a plane.
template <class Fn>
void ForEachPlane(KernelContext& c, int64_t planes, int64_t work, Fn&& fn) {
  c.pool().ParallelFor(planes, PlaneGrain(work), fn);
}

// Calls fn(length, first output column, first input offset) for each tap over each row of input
// under output row `row`: that many columns from there, the window's stride apart in the input.
template <class Fn>
void ForEachTap(const Window& w, int64_t row, Fn&& fn) {
  const int last = w.rank - 1;
  ForEachRow(w, row, row + 1, [&](int64_t, int64_t in_row, int64_t) {
    for (int64_t t = 0; t < w.kernel[last]; ++t) {
      const Span span = InsideSpan(w, last, t);
      if (span.begin == span.end) continue;
      fn(span.end - span.begin, span.begin,
         in_row * w.in[last] + span.begin * w.stride[last] + t * w.dilation[last] -
             w.pad_begin[last]);
    }
  });
}

}  // namespace toolkit
