// Images channels last, (N, H, W, C) in bytes: where a window's taps lie.
#pragma once

#include <algorithm>

#include "kernels/window.h"

namespace toolkit {

// Rows of channels under the taps of a position; those outside of the image are `padding`.
class NhwcTaps {
 public:
  NhwcTaps(const Window& w, const uint8_t* x, int64_t channels, const uint8_t* padding)
      : w_(w),
        x_(x),
        channels_(channels),
        plane_(w.in[0] * w.in[1] * channels),
        padding_(padding) {}

  // The taps of positions [begin, begin + n), counted through all images: tap t of the i-th at
  // out[i * step + t * tap_step].
  void Fill(int64_t begin, int64_t n, int64_t step, int64_t tap_step, const uint8_t** out) const {
    const int64_t columns = w_.out[1];
    int64_t row = begin / columns, x = begin % columns;
    for (int64_t left = n; left > 0; ++row, x = 0) {
      const int64_t count = std::min(left, columns - x);
      FillRow(row, x, count, step, tap_step, out);
      left -= count, out += count * step;
    }
  }

 private:
  // Of a row of output positions, `n` from x on.
  void FillRow(int64_t row, int64_t x, int64_t n, int64_t step, int64_t tap_step,
               const uint8_t** out) const {
    const uint8_t* image = x_ + row / w_.out[0] * plane_;
    const int64_t top = row % w_.out[0] * w_.stride[0] - w_.pad_begin[0];
    const int64_t stride = w_.stride[1];
    for (int64_t i = 0; i < w_.kernel[0]; ++i) {
      const int64_t y = top + i * w_.dilation[0];
      const bool inside = y >= 0 && y < w_.in[0];
      for (int64_t j = 0; j < w_.kernel[1]; ++j, out += tap_step) {
        // Positions k in [first, last) have column + k * stride inside of the image.
        const int64_t column = x * stride - w_.pad_begin[1] + j * w_.dilation[1];
        int64_t first = 0, last = n;
        if (column < 0) first = std::min(n, (stride - 1 - column) / stride);
        if (column + (n - 1) * stride >= w_.in[1])
          last = column >= w_.in[1] ? 0 : (w_.in[1] - column + stride - 1) / stride;
        if (!inside) last = 0;
        first = std::min(first, last);
        for (int64_t k = 0; k < first; ++k) out[k * step] = padding_;
        const uint8_t* from = image + (y * w_.in[1] + column) * channels_;
        for (int64_t k = first; k < last; ++k) out[k * step] = from + k * stride * channels_;
        for (int64_t k = last; k < n; ++k) out[k * step] = padding_;
      }
    }
  }

  const Window& w_;
  const uint8_t* x_;
  int64_t channels_, plane_;
  const uint8_t* padding_;
};

}  // namespace toolkit
