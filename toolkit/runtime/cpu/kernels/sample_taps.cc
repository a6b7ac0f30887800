#include "kernels/sample_taps.h"

namespace toolkit {

namespace {

constexpr double kCubic = -0.75;

// Keys' cubic filter at the distance d >= 0, and its derivative.
double Cubic(double d) {
  if (d <= 1) return ((kCubic + 2) * d - (kCubic + 3)) * d * d + 1;
  return ((kCubic * d - 5 * kCubic) * d + 8 * kCubic) * d - 4 * kCubic;
}
double CubicSlope(double d) {
  if (d <= 1) return (3 * (kCubic + 2) * d - 2 * (kCubic + 3)) * d;
  return (3 * kCubic * d - 10 * kCubic) * d + 8 * kCubic;
}

}  // namespace

SampleAxis::SampleAxis(int64_t length, SampleMode mode, SamplePadding padding, bool align_corners)
    : length_(static_cast<double>(length)),
      mode_(mode),
      padding_(padding),
      align_corners_(align_corners),
      low_(align_corners ? 0 : -0.5),
      high_(align_corners ? length_ - 1 : length_ - 0.5) {}

double SampleAxis::Reflect(double x, bool* flipped) const {
  const double range = high_ - low_;
  *flipped = false;
  if (range <= 0) return low_;
  const bool below = x < low_;
  const double beyond = below ? low_ - x : x - high_;
  const double rest = std::fmod(beyond, 2 * range);  // Exact, however far away.
  const bool odd = rest >= range;
  const double r = odd ? rest - range : rest;
  *flipped = !odd;
  return below == odd ? high_ - r : low_ + r;
}

int32_t SampleAxis::Place(double at) const {
  if (padding_ == SamplePadding::kZeros)
    return at >= 0 && at < length_ ? static_cast<int32_t>(at) : -1;
  bool flipped;
  if (padding_ == SamplePadding::kReflection && (at < low_ || at > high_))
    at = Reflect(at, &flipped);
  return static_cast<int32_t>(std::max(0.0, std::min(at, length_ - 1)));
}

void SampleAxis::Taps(double x, AxisTaps* taps) const {
  if (mode_ == SampleMode::kNearest) x = std::nearbyint(x);
  double sign = 1;
  if (x < low_ || x > high_) {
    if (padding_ == SamplePadding::kBorder && mode_ != SampleMode::kCubic) {
      x = std::max(0.0, std::min(x, length_ - 1));
      sign = 0;
    } else if (padding_ == SamplePadding::kReflection) {
      bool flipped;
      x = Reflect(x, &flipped);
      sign = high_ <= low_ ? 0 : flipped ? -1 : 1;
    }
  }
  // NaN reads zero, or the first element; what is far away must not overflow.
  if (!(x >= -4)) x = x < -4 || padding_ == SamplePadding::kZeros ? -4 : 0;
  x = std::min(x, length_ + 4);
  if (mode_ == SampleMode::kNearest) {
    taps->at[0] = Place(x);
    taps->weight[0] = 1;
    taps->slope[0] = 0;
    return;
  }
  const double base = std::floor(x), r = x - base;
  const double first = mode_ == SampleMode::kLinear ? base : base - 1;
  for (int k = 0; k < this->taps(); ++k) taps->at[k] = Place(first + k);
  if (mode_ == SampleMode::kLinear) {
    taps->weight[0] = 1 - r;
    taps->weight[1] = r;
    taps->slope[0] = -sign;
    taps->slope[1] = sign;
    return;
  }
  const double distance[4] = {1 + r, r, 1 - r, 2 - r};
  for (int k = 0; k < 4; ++k) {
    taps->weight[k] = Cubic(distance[k]);
    taps->slope[k] = CubicSlope(distance[k]) * (k < 2 ? sign : -sign);
  }
}

template <class T>
TapBlock<T>::TapBlock(const std::vector<SampleAxis>& axes, const int64_t* shape, bool slopes)
    : axes_(axes),
      rank_(static_cast<int>(axes.size())),
      per_axis_(axes[0].taps()),
      taps_(1),
      strides_(axes.size(), 1),
      along_(axes.size()),
      slopes_(slopes) {
  for (int d = 0; d < rank_; ++d) taps_ *= per_axis_;
  for (int d = rank_ - 2; d >= 0; --d) strides_[d] = strides_[d + 1] * shape[d + 1];
  at_.resize(static_cast<size_t>(taps_ * kSampleBlock));
  weight_.resize(at_.size());
  if (slopes) slope_.resize(at_.size() * axes.size());
}

template <class T>
void TapBlock<T>::Set(int64_t i, const double* x) {
  for (int d = 0; d < rank_; ++d) axes_[d].Taps(x[d], &along_[d]);
  int digit[kMaxRank] = {};
  for (int64_t k = 0; k < taps_; ++k) {
    int64_t at = 0;
    double weight = 1;
    bool inside = true;
    for (int d = 0; d < rank_; ++d) {
      const int32_t place = along_[d].at[digit[d]];
      inside &= place >= 0;
      at += place * strides_[d];
      weight *= along_[d].weight[digit[d]];
    }
    const int64_t to = k * kSampleBlock + i;
    at_[to] = inside ? static_cast<int32_t>(at) : -1;
    weight_[to] = static_cast<T>(weight);
    for (int d = 0; d < rank_ && slopes_; ++d) {
      double slope = along_[d].slope[digit[d]];
      for (int e = 0; e < rank_; ++e)
        if (e != d) slope *= along_[e].weight[digit[e]];
      slope_[d * taps_ * kSampleBlock + to] = static_cast<T>(slope);
    }
    for (int d = rank_ - 1; d >= 0 && ++digit[d] == per_axis_; --d) digit[d] = 0;
  }
}

template class TapBlock<float>;
template class TapBlock<double>;

}  // namespace toolkit
