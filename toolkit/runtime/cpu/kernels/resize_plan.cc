#include "kernels/resize_plan.h"

#include <cmath>
#include <string>
#include <utility>

#include "kernels/movement.h"

namespace toolkit {

namespace {

template <class E, size_t N>
E Choose(const Attributes& attributes, const char* name, const char* fallback,
         const std::pair<const char*, E> (&choices)[N]) {
  const std::string text = attributes.String(name, fallback);
  std::string all;
  for (const auto& [word, value] : choices) {
    if (text == word) return value;
    all += std::string(all.empty() ? "" : ", ") + word;
  }
  Fail(ErrorKind::kInvalidArgument, name, " must be one of ", all, ", got '", text, "'");
}

constexpr std::pair<const char*, ResizeMode> kModes[] = {{"nearest", ResizeMode::kNearest},
                                                         {"linear", ResizeMode::kLinear},
                                                         {"cubic", ResizeMode::kCubic}};
constexpr std::pair<const char*, ResizeCoordinates> kCoordinates[] = {
    {"half_pixel", ResizeCoordinates::kHalfPixel},
    {"half_pixel_symmetric", ResizeCoordinates::kHalfPixelSymmetric},
    {"pytorch_half_pixel", ResizeCoordinates::kPytorchHalfPixel},
    {"align_corners", ResizeCoordinates::kAlignCorners},
    {"asymmetric", ResizeCoordinates::kAsymmetric},
    {"tf_crop_and_resize", ResizeCoordinates::kTfCropAndResize}};
constexpr std::pair<const char*, NearestMode> kNearestModes[] = {
    {"round_prefer_floor", NearestMode::kRoundPreferFloor},
    {"round_prefer_ceil", NearestMode::kRoundPreferCeil},
    {"floor", NearestMode::kFloor},
    {"ceil", NearestMode::kCeil}};
constexpr std::pair<const char*, AspectPolicy> kPolicies[] = {
    {"stretch", AspectPolicy::kStretch},
    {"not_larger", AspectPolicy::kNotLarger},
    {"not_smaller", AspectPolicy::kNotSmaller}};

constexpr double kMaxLength = 2147483647;  // Indices of taps are 32 bits wide.

void CheckLength(const char* name, const Tensor& t, size_t wanted) {
  TK_REQUIRE(t.rank() == 1 && t.size() == static_cast<int64_t>(wanted), ErrorKind::kShape, name,
             " must be a vector of ", wanted, " values, got shape ", t.shape().ToString());
}

const Tensor* Present(const Tensor* t) { return t && t->size() > 0 ? t : nullptr; }

std::vector<double> ReadRoi(const Tensor& roi, size_t axes) {
  CheckLength("roi", roi, 2 * axes);
  std::vector<double> values;
  DispatchFloats(roi.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    values.assign(roi.data<T>(), roi.data<T>() + roi.size());
  });
  return values;
}

void ResolveScales(const Tensor& scales, const std::vector<int>& axes, ResizePlan* plan) {
  TK_REQUIRE(scales.dtype() == DType::kFloat, ErrorKind::kDType, "scales must be float32, got ",
             Name(scales.dtype()));
  CheckLength("scales", scales, axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    ResizeAxis& axis = plan->axes[axes[i]];
    const float scale = scales.data<float>()[i];
    TK_REQUIRE(scale > 0 && std::isfinite(scale), ErrorKind::kInvalidArgument,
               "scales must be positive and finite, got ", scale);
    axis.scale = scale;
    const float out = std::floor(static_cast<float>(axis.in) * scale);  // In float32, as inference.
    TK_REQUIRE(out < kMaxLength, ErrorKind::kInvalidArgument, "the output is too large: scale ",
               scale, " over ", axis.in, " elements");
    axis.out = static_cast<int64_t>(out);
  }
}

void ResolveSizes(const Tensor& sizes, AspectPolicy policy, const std::vector<int>& axes,
                  ResizePlan* plan) {
  CheckLength("sizes", sizes, axes.size());
  const std::vector<int64_t> wanted = ReadInts(sizes, "sizes");
  double common = policy == AspectPolicy::kNotLarger ? INFINITY : 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    ResizeAxis& axis = plan->axes[axes[i]];
    TK_REQUIRE(wanted[i] >= 0 && static_cast<double>(wanted[i]) < kMaxLength,
               ErrorKind::kInvalidArgument, "sizes must not be negative or huge, got ", wanted[i]);
    axis.out = wanted[i];
    if (axis.in == 0) continue;
    axis.scale = static_cast<double>(axis.out) / static_cast<double>(axis.in);
    common = policy == AspectPolicy::kNotLarger ? std::min(common, axis.scale)
                                                : std::max(common, axis.scale);
  }
  if (policy == AspectPolicy::kStretch) return;
  for (int i : axes) {
    ResizeAxis& axis = plan->axes[i];
    if (axis.in == 0) {
      axis.out = 0;
      continue;
    }
    const double out = std::floor(common * static_cast<double>(axis.in) + 0.5);
    TK_REQUIRE(out < kMaxLength, ErrorKind::kInvalidArgument, "the output is too large: scale ",
               common, " over ", axis.in, " elements");
    axis.scale = common;
    axis.out = static_cast<int64_t>(out);
  }
}

}  // namespace

ResizeAttributes::ResizeAttributes(const Attributes& a)
    : mode(Choose(a, "mode", "nearest", kModes)),
      extrapolation_value(a.Float("extrapolation_value", 0)),
      coordinates_(Choose(a, "coordinate_transformation_mode", "half_pixel", kCoordinates)),
      nearest_(Choose(a, "nearest_mode", "round_prefer_floor", kNearestModes)),
      policy_(Choose(a, "keep_aspect_ratio_policy", "stretch", kPolicies)),
      antialias_(a.Int("antialias", 0) != 0),
      exclude_outside_(a.Int("exclude_outside", 0) != 0),
      cubic_(a.Float("cubic_coeff_a", -0.75)),
      axes_(a.Ints("axes")) {
  TK_REQUIRE(!antialias_ || mode != ResizeMode::kNearest, ErrorKind::kInvalidArgument,
             "antialias requires mode linear or cubic, got nearest");
}

ResizePlan ResizeAttributes::Resolve(const Shape& x, const Tensor* roi, const Tensor* scales,
                                     const Tensor* sizes) const {
  roi = Present(roi);
  scales = Present(scales);
  sizes = Present(sizes);
  std::vector<int> axes;
  if (axes_.empty())
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  else
    axes = NormalizeAxes(axes_, x.rank());
  ResizePlan plan;
  plan.axes.resize(static_cast<size_t>(x.rank()));
  for (int i = 0; i < x.rank(); ++i) {
    TK_REQUIRE(static_cast<double>(x[i]) < kMaxLength, ErrorKind::kUnsupported,
               "dimensions must be below 2^31, got ", x.ToString());
    plan.axes[i].in = plan.axes[i].out = x[i];
  }
  TK_REQUIRE(x.rank() == 0 || (scales == nullptr) != (sizes == nullptr),
             ErrorKind::kInvalidArgument, "one of scales and sizes is required, got ",
             scales ? "both" : "none");
  if (scales) ResolveScales(*scales, axes, &plan);
  if (sizes) ResolveSizes(*sizes, policy_, axes, &plan);
  if (coordinates_ == ResizeCoordinates::kTfCropAndResize) {
    TK_REQUIRE(roi || axes.empty(), ErrorKind::kInvalidArgument,
               "roi is required by tf_crop_and_resize, got none");
    const size_t n = axes.size();
    const std::vector<double> values = n ? ReadRoi(*roi, n) : std::vector<double>();
    for (size_t i = 0; i < n; ++i) {
      plan.axes[axes[i]].roi_begin = values[i];
      plan.axes[axes[i]].roi_end = values[n + i];
    }
  }
  for (const ResizeAxis& axis : plan.axes) {
    TK_REQUIRE(axis.in > 0 || axis.out == 0, ErrorKind::kShape,
               "an axis without elements cannot be resized to ", axis.out, ", got X ",
               x.ToString());
    plan.out.push_back(axis.out);
  }
  return plan;
}

double ResizeAttributes::Origin(const ResizeAxis& axis, int64_t o) const {
  const double x = static_cast<double>(o), in = static_cast<double>(axis.in);
  const double width = axis.scale * in;  // May be a fraction.
  switch (coordinates_) {
    case ResizeCoordinates::kHalfPixel:
      return (x + 0.5) / axis.scale - 0.5;
    case ResizeCoordinates::kHalfPixelSymmetric:
      return in / 2 * (1 - static_cast<double>(axis.out) / width) + (x + 0.5) / axis.scale - 0.5;
    case ResizeCoordinates::kPytorchHalfPixel:
      return axis.out > 1 ? (x + 0.5) / axis.scale - 0.5 : 0;
    case ResizeCoordinates::kAlignCorners:
      return o == 0 ? 0 : x * (in - 1) / (width - 1);
    case ResizeCoordinates::kAsymmetric:
      return x / axis.scale;
    case ResizeCoordinates::kTfCropAndResize:
      break;
  }
  const double span = (axis.roi_end - axis.roi_begin) * (in - 1);
  return axis.roi_begin * (in - 1) + (axis.out > 1 ? x * span / (width - 1) : span / 2);
}

// NaN counts as outside.
bool ResizeAttributes::Outside(const ResizeAxis& axis, double x) const {
  return coordinates_ == ResizeCoordinates::kTfCropAndResize &&
         !(x >= 0 && x <= static_cast<double>(axis.in - 1));
}

int64_t ResizeAttributes::Nearest(double x) const {
  // What is a whole or a half number but for the scale's rounding counts as one.
  const double at = static_cast<float>(x), floor = std::floor(at), ratio = at - floor;
  bool up = false;
  switch (nearest_) {
    case NearestMode::kRoundPreferFloor:
      up = ratio > 0.5;
      break;
    case NearestMode::kRoundPreferCeil:
      up = ratio >= 0.5;
      break;
    case NearestMode::kFloor:
      break;
    case NearestMode::kCeil:
      up = ratio > 0;
      break;
  }
  return static_cast<int64_t>(floor) + up;
}

std::vector<int64_t> ResizeAttributes::NearestMap(const ResizeAxis& axis) const {
  std::vector<int64_t> map(static_cast<size_t>(axis.out));
  for (int64_t o = 0; o < axis.out; ++o) {
    const double x = Origin(axis, o);
    map[o] = Outside(axis, x) ? -1 : std::clamp<int64_t>(Nearest(x), 0, axis.in - 1);
  }
  return map;
}

double ResizeAttributes::Filter(double distance) const {
  const double d = std::fabs(distance), a = cubic_;
  if (mode == ResizeMode::kLinear) return std::max(0.0, 1 - d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

AxisMap ResizeAttributes::Map(const ResizeAxis& axis) const {
  AxisMap map;
  map.in = axis.in;
  if (mode == ResizeMode::kNearest) {
    for (int64_t at : NearestMap(axis)) {
      if (at >= 0) map.Add(at, 1);
      map.EndRow();
    }
    return map;
  }
  const double stretch = antialias_ ? std::min(axis.scale, 1.0) : 1.0;
  const double support = mode == ResizeMode::kLinear ? 1 : 2;
  // Taps lie at base + first ... base + 1 - first, where base < x <= base + 1.
  const int64_t first = axis.out ? static_cast<int64_t>(std::floor(-support / stretch)) + 1 : 0;
  for (int64_t o = 0; o < axis.out; ++o) {
    const double x = Origin(axis, o);
    if (!Outside(axis, x)) {
      const double base = std::ceil(x) - 1;
      double sum = 0;
      const size_t begin = map.weight.size();
      for (int64_t i = first; i <= 1 - first; ++i) {
        const double at = base + static_cast<double>(i);
        const bool inside = at >= 0 && at < static_cast<double>(axis.in);
        const double w = inside || !exclude_outside_ ? Filter((at - x) * stretch) : 0;
        map.Add(static_cast<int64_t>(std::clamp(at, 0.0, static_cast<double>(axis.in - 1))), w);
        sum += w;
      }
      if (antialias_ || exclude_outside_)
        for (size_t t = begin; t < map.weight.size(); ++t) map.weight[t] /= sum == 0 ? 1 : sum;
    }
    map.EndRow();
  }
  return map;
}

}  // namespace toolkit
