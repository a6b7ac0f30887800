// Pools of codes, channels last: toolkit.fused.MaxPoolNhwc and QAveragePoolNhwc. One pass over
// memory, split by rows of the output.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/gemm_int8.h"
#include "kernels/nhwc.h"
#include "kernels/pool_common.h"
#include "kernels/quantize.h"
#include "simd/codes.h"

namespace toolkit {
namespace {

Shape ChannelsFirst(const Shape& x) {
  TK_REQUIRE(x.rank() == 4, ErrorKind::kShape, "x must be (N, H, W, C), got ", x.ToString());
  return {x[0], x[3], x[1], x[2]};
}

// Calls fn(position, taps, count, sums, means): the rows of channels under a window that lie
// inside, and room for a number a channel.
template <class Fn>
void ForEachWindow(KernelContext& c, const Tensor& x, const Window& w, Fn&& fn) {
  const int64_t channels = x.dim(3), taps = TapCount(w), columns = w.out[1];
  const NhwcTaps source(w, x.data<uint8_t>(), channels, nullptr);
  c.pool().ParallelFor(x.dim(0) * w.out[0], PlaneGrain(columns * taps * channels / 16),
                       [&](int64_t row, int64_t end) {
                         std::vector<const uint8_t*> rows(static_cast<size_t>(taps));
                         std::vector<int32_t> sums(static_cast<size_t>(channels));
                         std::vector<float> means(sums.size());
                         for (int64_t p = row * columns; p < end * columns; ++p) {
                           source.Fill(p, 1, 0, 1, rows.data());
                           const auto inside = std::remove(rows.begin(), rows.end(), nullptr);
                           fn(p, rows.data(), inside - rows.begin(), sums.data(), means.data());
                         }
                       });
}

class MaxPoolNhwc : public Kernel {
 public:
  explicit MaxPoolNhwc(const Attributes& a) : pool_(a) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Window w = pool_.Resolve(ChannelsFirst(x.shape()));
    const int64_t channels = x.dim(3);
    const Tensor& y = c.Output(0, x.dtype(), {x.dim(0), w.out[0], w.out[1], channels});
    if (y.size() == 0) return;
    ForEachWindow(c, x, w,
                  [&](int64_t p, const uint8_t* const* rows, int64_t count, int32_t*, float*) {
                    uint8_t* out = y.data<uint8_t>() + p * channels;
                    if (count == 0)
                      std::fill_n(out, channels, uint8_t{0});
                    else
                      CodesFunctions().max_rows(rows, count, channels, out);
                  });
  }

 private:
  PoolAttributes pool_;
};

// (x, x_scale, x_zero, y_scale, y_zero) -> y: the mean of the numbers that codes stand for, of a
// window, or with `global` of an image. Sums are integers.
class QAveragePoolNhwc : public Kernel {
 public:
  explicit QAveragePoolNhwc(const Attributes& a)
      : global_(a.Int("global", 0) != 0),
        count_padding_(a.Int("count_include_pad", 0) != 0),
        ceil_mode_(a.Int("ceil_mode", 0) != 0),
        window_(a) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Shape shape = ChannelsFirst(x.shape());
    std::vector<int64_t> kernel = window_.kernel_shape;
    if (global_) kernel = {shape[2], shape[3]};
    const Window w = window_.Resolve(shape, kernel, ceil_mode_);
    const int32_t x_zero = OneZero(c, 2, DType::kUInt8);
    const auto zero = static_cast<float>(OneZero(c, 4, DType::kUInt8));
    const float x_scale = OneScale(c, 1), y_scale = OneScale(c, 3);
    const int64_t channels = x.dim(3), taps = TapCount(w);
    const Tensor& y = c.Output(0, DType::kUInt8, {x.dim(0), w.out[0], w.out[1], channels});
    if (y.size() == 0) return;
    const Affine result = {&y_scale, &zero, 0};
    const QuantizeFn quantize = QuantizeFunctions().quantize[0][static_cast<int>(Quantized::kU8)];
    ForEachWindow(
        c, x, w,
        [&](int64_t p, const uint8_t* const* rows, int64_t count, int32_t* sums, float* means) {
          CodesFunctions().sum_rows(rows, count, channels, sums);
          const int64_t over = count_padding_ ? taps : std::max<int64_t>(count, 1);
          for (int64_t j = 0; j < channels; ++j)
            means[j] = static_cast<float>(sums[j] - static_cast<int32_t>(count) * x_zero) *
                       x_scale / static_cast<float>(over);
          quantize(y.data<uint8_t>() + p * channels, means, channels, result, 0, 255);
        });
  }

 private:
  bool global_, count_padding_, ceil_mode_;
  WindowAttributes window_;
};

static const bool kMaxPoolNhwc =
    Register<MaxPoolNhwc>("MaxPoolNhwc").Types(Bit(DType::kUInt8)).Domain("toolkit.fused");
static const bool kQAveragePoolNhwc = Register<QAveragePoolNhwc>("QAveragePoolNhwc")
                                          .Types(Bit(DType::kUInt8))
                                          .Domain("toolkit.fused");

}  // namespace
}  // namespace toolkit
