// Planes (one channel of one image) with their padding written out, and the rows under a window.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/window.h"

namespace toolkit {

inline const WindowRows<float>& RowsOf(float) { return WindowSimd().f32; }
inline const WindowRows<double>& RowsOf(double) { return WindowSimd().f64; }

// The window over the padded input, cut or extended to exactly what its taps touch.
class Padding {
 public:
  explicit Padding(const Window& window) : from_(window), to_(window) {
    for (int d = 0; d < window.rank; ++d) {
      const int64_t need = (window.out[d] - 1) * window.stride[d] + Extent(window, d);
      needed_ |= window.pad_begin[d] != 0 || need > window.in[d];
      to_.in[d] = need;
      to_.pad_begin[d] = to_.pad_end[d] = 0;
    }
    if (!needed_) to_ = window;
  }

  bool needed() const { return needed_; }
  const Window& window() const { return to_; }  // Without padding.

  // Memory for `planes` padded planes; refused by arithmetic when it cannot fit.
  template <class T>
  std::shared_ptr<Buffer> Allocate(int64_t planes) const {
    Shape shape = {planes};
    for (int d = 0; d < to_.rank; ++d) shape.push_back(to_.in[d]);
    return Buffer::Allocate(CheckedBytes(DTypeOf<T>::kValue, shape));
  }

  template <class T>
  void Copy(const T* x, T fill, T* out) const {
    const int last = from_.rank - 1;
    const int64_t columns = to_.in[last], left = std::min(columns, from_.pad_begin[last]);
    const int64_t copied = std::min(from_.in[last], columns - left);
    const int64_t rows = InCount(to_) / columns;
    for (int64_t row = 0; row < rows; ++row, out += columns) {
      int64_t rest = row, index = 0, stride = 1;
      bool inside = true;
      for (int d = last - 1; d >= 0; --d) {
        const int64_t at = (d > 0 ? rest % to_.in[d] : rest) - from_.pad_begin[d];
        if (d > 0) rest /= to_.in[d];
        inside &= at >= 0 && at < from_.in[d];
        index += at * stride;
        stride *= from_.in[d];
      }
      if (!inside) {
        std::fill(out, out + columns, fill);
        continue;
      }
      std::fill(out, out + left, fill);
      std::memcpy(out + left, x + index * from_.in[last], static_cast<size_t>(copied) * sizeof(T));
      std::fill(out + left + copied, out + columns, fill);
    }
  }

 private:
  Window from_, to_;
  bool needed_ = false;
};

// The input rows under each output row of a plane. One object serves many planes, one at a time.
template <class T>
class PlaneRows {
 public:
  // `fill`: what the padding holds.
  PlaneRows(const Window& window, T fill) : padding_(window), fill_(fill) {
    const Window &w = padding_.window(), &from = window;
    const int outer = w.rank - 1;
    const int64_t tap_rows = TapCount(w) / w.kernel[outer];
    if (padding_.needed()) space_ = padding_.template Allocate<T>(1);  // Refuses what overflows.
    pointers_.resize(tap_rows);
    for (int64_t r = 0; r < tap_rows; ++r) {
      int64_t rest = r, offset = 0, source = 0, stride = w.in[outer], from_stride = from.in[outer];
      for (int d = outer - 1; d >= 0; --d) {
        const int64_t at = rest % w.kernel[d] * w.dilation[d];
        rest /= w.kernel[d];
        offset += at * stride;
        source += (at - from.pad_begin[d]) * from_stride;
        stride *= w.in[d];
        from_stride *= from.in[d];
      }
      offsets_.push_back(offset);
      sources_.push_back(source - from.pad_begin[outer]);
    }
    from_ = from;
  }

  // Takes up another plane; `weights`: of its taps, or null.
  void Load(const T* x, const T* weights = nullptr) {
    x_ = x;
    if (space_) {
      T* padded = reinterpret_cast<T*>(space_->data());
      padding_.Copy(x, fill_, padded);
      x_ = padded;
    }
    weights_.clear();
    const int64_t taps = from_.kernel[from_.rank - 1];
    for (size_t r = 0; weights && r < offsets_.size(); ++r) weights_.push_back(weights + r * taps);
  }

  TapRow<T> Row(int64_t row) {
    const Window& w = padding_.window();
    const int last = w.rank - 1;
    const T* base = x_ + Offset(w, row);
    for (size_t r = 0; r < offsets_.size(); ++r) pointers_[r] = base + offsets_[r];
    return {w.out[last],      static_cast<int>(offsets_.size()),
            pointers_.data(), weights_.empty() ? nullptr : weights_.data(),
            w.kernel[last],   w.dilation[last],
            w.stride[last]};
  }

  // Flat index in the unpadded plane of what column 0 of `row` sees under each tap.
  void SourceIndices(int64_t row, std::vector<int64_t>* indices) const {
    const int last = from_.rank - 1;
    const int64_t base = Offset(from_, row);
    indices->clear();
    for (int64_t source : sources_)
      for (int64_t t = 0; t < from_.kernel[last]; ++t)
        indices->push_back(base + source + t * from_.dilation[last]);
  }

 private:
  // Of the first input row under output row `row`, without padding.
  static int64_t Offset(const Window& w, int64_t row) {
    int64_t offset = 0, stride = w.in[w.rank - 1];
    for (int d = w.rank - 2; d >= 0; --d) {
      offset += (d > 0 ? row % w.out[d] : row) * w.stride[d] * stride;
      if (d > 0) row /= w.out[d];
      stride *= w.in[d];
    }
    return offset;
  }

  Padding padding_;
  Window from_;
  T fill_;
  const T* x_ = nullptr;
  std::shared_ptr<Buffer> space_;
  std::vector<int64_t> offsets_, sources_;  // Of each row of taps.
  std::vector<const T*> pointers_, weights_;
};

}  // namespace toolkit
