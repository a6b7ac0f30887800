// Where and with what weights a point between the elements of an N-D image is read.
#pragma once

#include <cmath>
#include <vector>

#include "core/kernel.h"
#include "kernels/axis_map.h"

namespace toolkit {

enum class SampleMode { kNearest, kLinear, kCubic };
enum class SamplePadding { kZeros, kBorder, kReflection };

constexpr int64_t kSampleBlock = 256;  // Points whose taps are computed at a time.

// Along one axis: up to four taps, -1 where a tap reads zero, and how weights change with the
// coordinate.
struct AxisTaps {
  int32_t at[4];
  double weight[4], slope[4];
};

// One axis of an image of `length` elements; coordinates count elements.
class SampleAxis {
 public:
  SampleAxis(int64_t length, SampleMode mode, SamplePadding padding, bool align_corners);

  int taps() const {
    return mode_ == SampleMode::kNearest ? 1 : mode_ == SampleMode::kLinear ? 2 : 4;
  }
  // From [-1, 1] to elements.
  double Denormalize(double g) const {
    return align_corners_ ? (g + 1) / 2 * (length_ - 1) : ((g + 1) * length_ - 1) / 2;
  }
  double scale() const { return (align_corners_ ? length_ - 1 : length_) / 2; }
  // With `slope`: of the weights in x.
  void Taps(double x, AxisTaps* taps) const;

 private:
  int32_t Place(double at) const;
  double Reflect(double x, bool* flipped) const;

  double length_;
  SampleMode mode_;
  SamplePadding padding_;
  bool align_corners_;
  double low_, high_;  // Where coordinates are reflected.
};

// The taps of points over all axes, tap by tap: what the rows of ImageSimd() read. One object per
// task; memory for one block of points.
template <class T>
class TapBlock {
 public:
  // `shape`: the image's, outermost axis first. `slopes`: with the weights' derivatives.
  TapBlock(const std::vector<SampleAxis>& axes, const int64_t* shape, bool slopes);

  int64_t taps() const { return taps_; }
  const int32_t* at() const { return at_.data(); }
  const T* weight() const { return weight_.data(); }
  T* weight() { return weight_.data(); }
  // The derivative of the weights in the coordinate of axis d.
  const T* slope(int d) const { return slope_.data() + d * taps_ * kSampleBlock; }

  // Sets point i of the block; x: a coordinate for each axis.
  void Set(int64_t i, const double* x);

 private:
  const std::vector<SampleAxis>& axes_;
  int rank_, per_axis_;
  int64_t taps_;
  std::vector<int64_t> strides_;
  std::vector<AxisTaps> along_;
  std::vector<int32_t> at_;
  std::vector<T> weight_, slope_;
  bool slopes_;
};

}  // namespace toolkit
