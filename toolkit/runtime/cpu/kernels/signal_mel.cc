// MelWeightMatrix: triangular filters, spaced evenly on the mel scale.
#include <cmath>

#include "kernels/half.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

class MelWeightMatrix : public Kernel {
 public:
  explicit MelWeightMatrix(const Attributes& a)
      : dtype_(static_cast<DType>(a.Int("output_datatype", 1))) {
    TK_REQUIRE(Contains(kAnyNumber, dtype_), ErrorKind::kDType,
               "attribute output_datatype must be a type of numbers, got ",
               a.Int("output_datatype", 1));
  }

  void Run(KernelContext& c) const override {
    const int64_t bands = ReadInt(c.input(0), "num_mel_bins");
    const int64_t length = ReadInt(c.input(1), "dft_length");
    const int64_t rate = ReadInt(c.input(2), "sample_rate");
    TK_REQUIRE(bands >= 0 && length >= 1 && rate >= 1, ErrorKind::kInvalidArgument,
               "num_mel_bins, dft_length and sample_rate must be positive, got ", bands, ", ",
               length, " and ", rate);
    TK_REQUIRE(length < INT64_MAX / 2, ErrorKind::kInvalidArgument, "dft_length is too large, got ",
               length);
    const double lower = Hertz(c.input(3)), upper = Hertz(c.input(4));
    const int64_t bins = length / 2 + 1;
    Tensor& y = c.Output(0, dtype_, {bins, bands});
    FillZero(c.pool(), y);
    if (bands == 0) return;
    const std::vector<int64_t> edges = Edges(bands, length, rate, lower, upper);
    for (int64_t edge : edges)
      TK_REQUIRE(edge >= 0 && edge < bins, ErrorKind::kInvalidArgument,
                 "lower_edge_hertz and upper_edge_hertz must lie in [0, sample_rate / 2], got ",
                 lower, " and ", upper);
    DispatchAnyNumber(dtype_, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t band = 0; band < bands; ++band)
        Triangle(y.data<T>() + band, bands, edges[band], edges[band + 1], edges[band + 2]);
    });
  }

 private:
  static double Hertz(const Tensor& t) {
    TK_REQUIRE(t.size() == 1, ErrorKind::kShape, "a band edge must be a scalar, got shape ",
               t.shape().ToString());
    return DispatchAnyFloat(t.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      return static_cast<double>(
          static_cast<std::conditional_t<kIsHalf<T>, float, T>>(*t.data<T>()));
    });
  }

  // Spectrogram bins of the bands' edges; -1 for one that no bin can hold.
  static std::vector<int64_t> Edges(int64_t bands, int64_t length, int64_t rate, double lower,
                                    double upper) {
    const double scale = 2595 / std::log(10.0);  // mel(f) = 2595 log10(1 + f / 700).
    const double low = scale * std::log1p(lower / 700), high = scale * std::log1p(upper / 700);
    const double step = (high - low) / static_cast<double>(bands + 2);
    std::vector<int64_t> edges(static_cast<size_t>(bands + 2));
    for (int64_t i = 0; i < bands + 2; ++i) {
      const double hertz = 700 * std::expm1((static_cast<double>(i) * step + low) / scale);
      const double bin =
          std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate));
      edges[i] = bin >= 0 && bin < 9e18 ? static_cast<int64_t>(bin) : -1;
    }
    return edges;
  }

  // A column that rises from `left` to 1 at `center` and falls to 0 at `right`.
  template <class T>
  static void Triangle(T* y, int64_t stride, int64_t left, int64_t center, int64_t right) {
    const auto set = [&](int64_t bin, int64_t part, int64_t whole) {
      y[bin * stride] =
          static_cast<T>(static_cast<std::conditional_t<kIsHalf<T>, float, double>>(part) /
                         static_cast<std::conditional_t<kIsHalf<T>, float, double>>(whole));
    };
    if (left >= center) set(center, 1, 1);
    for (int64_t bin = left; left < center && bin <= center; ++bin)
      set(bin, bin - left, center - left);
    for (int64_t bin = center; bin < right; ++bin) set(bin, right - bin, right - center);
  }

  DType dtype_;
};

static const bool kMel =
    Register<MelWeightMatrix>("MelWeightMatrix").Types(Bit(DType::kInt32) | Bit(DType::kInt64));

}  // namespace
}  // namespace toolkit
