// Attributes and shapes of sliding windows, as Conv, ConvTranspose and the pools share them.
#pragma once

#include <vector>

#include "core/attributes.h"
#include "core/tensor.h"
#include "simd/window.h"

namespace toolkit {

enum class AutoPad { kNotSet, kSameUpper, kSameLower, kValid };

// kernel_shape, strides, dilations, pads and auto_pad; empty lists mean the defaults.
struct WindowAttributes {
  explicit WindowAttributes(const Attributes& attributes);

  // The window over `input`'s spatial dimensions (all but the first two). `kernel`: the taps'
  // shape. Output size: ONNX's formulas, ceiling instead of floor with `ceil_mode` (a window that
  // would begin in the padding at the end is dropped).
  Window Resolve(const Shape& input, const std::vector<int64_t>& kernel, bool ceil_mode) const;

  std::vector<int64_t> kernel_shape, strides, dilations, pads;
  AutoPad auto_pad;

 private:
  friend struct TransposeAttributes;
  // Everything but in, out and pads; fails on a bad list.
  Window Begin(const Shape& input, const std::vector<int64_t>& kernel) const;
};

// ConvTranspose's: the window runs from the output back to the input, so `in` of the result is the
// output's size and `out` the input's.
struct TransposeAttributes {
  explicit TransposeAttributes(const Attributes& attributes);
  Window Resolve(const Shape& input, const std::vector<int64_t>& kernel) const;

  WindowAttributes window;
  std::vector<int64_t> output_padding, output_shape;
};

// Extent of a dilated kernel.
inline int64_t Extent(const Window& w, int d) { return (w.kernel[d] - 1) * w.dilation[d] + 1; }

// Number of output positions, of input positions, of taps.
int64_t OutCount(const Window& w);
int64_t InCount(const Window& w);
int64_t TapCount(const Window& w);

// Output columns [begin, end) whose input column under `tap` lies inside; innermost dimension.
struct Span {
  int64_t begin, end;
};
Span InsideSpan(const Window& w, int d, int64_t tap);

// Calls fn(out_row, in_row, tap_row) for each output row (all dimensions but the innermost), each
// row of taps whose input row lies inside, taps ascending: flat indices of the rows.
template <class Fn>
void ForEachRow(const Window& w, int64_t row_begin, int64_t row_end, Fn&& fn) {
  const int outer = w.rank - 1;
  for (int64_t row = row_begin; row < row_end; ++row) {
    // Input coordinate under the first tap of each dimension; divisions are dear, so none for 2-D.
    int64_t first[kMaxSpatialRank], tap[kMaxSpatialRank] = {}, rest = row;
    for (int d = outer - 1; d >= 0; --d) {
      const int64_t position = d > 0 ? rest % w.out[d] : rest;
      if (d > 0) rest /= w.out[d];
      first[d] = position * w.stride[d] - w.pad_begin[d];
    }
    for (int64_t tap_row = 0;; ++tap_row) {
      int64_t index = 0;
      bool inside = true;
      for (int d = 0; d < outer; ++d) {
        const int64_t at = first[d] + tap[d] * w.dilation[d];
        inside &= at >= 0 && at < w.in[d];
        index = index * w.in[d] + at;
      }
      if (inside) fn(row, index, tap_row);
      int d = outer - 1;
      while (d >= 0 && ++tap[d] == w.kernel[d]) tap[d--] = 0;
      if (d < 0) break;
    }
  }
}

// One tap, stride 1, no padding.
inline bool IsUnit(const Window& w) {
  for (int d = 0; d < w.rank; ++d)
    if (w.kernel[d] != 1 || w.stride[d] != 1 || w.pad_begin[d] != 0 || w.pad_end[d] != 0 ||
        w.in[d] != w.out[d])
      return false;
  return true;
}

}  // namespace toolkit
