// Resize's attributes, the sizes of a call, and the map of each axis.
#pragma once

#include <vector>

#include "core/kernel.h"
#include "kernels/axis_map.h"

namespace toolkit {

enum class ResizeMode { kNearest, kLinear, kCubic };
enum class ResizeCoordinates {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfCropAndResize
};
enum class NearestMode { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };
enum class AspectPolicy { kStretch, kNotLarger, kNotSmaller };

// How one axis is resized.
struct ResizeAxis {
  int64_t in = 0, out = 0;
  double scale = 1;
  double roi_begin = 0, roi_end = 1;
};

struct ResizePlan {
  std::vector<ResizeAxis> axes;  // One for each axis of X.
  Shape out;
};

struct ResizeAttributes {
  explicit ResizeAttributes(const Attributes& attributes);

  // The sizes for inputs roi, scales, sizes, of which the absent are null or empty.
  ResizePlan Resolve(const Shape& x, const Tensor* roi, const Tensor* scales,
                     const Tensor* sizes) const;
  // The taps of each output of an axis; an output outside of the region of interest has none.
  AxisMap Map(const ResizeAxis& axis) const;
  // Mode nearest: the input index of each output, -1 outside of the region of interest.
  std::vector<int64_t> NearestMap(const ResizeAxis& axis) const;

  ResizeMode mode;
  double extrapolation_value;

 private:
  double Origin(const ResizeAxis& axis, int64_t o) const;
  bool Outside(const ResizeAxis& axis, double x) const;
  int64_t Nearest(double x) const;
  // The filter's value at a distance, in input elements.
  double Filter(double distance) const;

  ResizeCoordinates coordinates_;
  NearestMode nearest_;
  AspectPolicy policy_;
  bool antialias_, exclude_outside_;
  double cubic_;
  std::vector<int64_t> axes_;
};

}  // namespace toolkit
