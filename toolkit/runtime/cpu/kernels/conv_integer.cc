// ConvInteger and QLinearConv.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/conv_int8.h"
#include "kernels/conv_int8_depthwise.h"
#include "kernels/quantize.h"
#include "kernels/window.h"

namespace toolkit {
namespace {

int ValueOf(const Tensor& t, int64_t i) {
  return t.dtype() == DType::kInt8 ? t.data<int8_t>()[i] : t.data<uint8_t>()[i];
}

class IntegerConv : public Kernel {
 public:
  void Prepack(int input, const Tensor& w) override {
    if (input == w_input_ && w.rank() >= 3 && Contains(kBytes, w.dtype()) && w.size() > 0 &&
        w.dim(0) % group_ == 0)
      packed_ = PackedConvInt8(w, group_);
  }

  size_t PackedBytes() const override { return packed_.bytes(); }

 protected:
  IntegerConv(const Attributes& a, int w_input)
      : window_(a), group_(a.Int("group", 1)), w_input_(w_input) {
    TK_REQUIRE(group_ >= 1, ErrorKind::kInvalidArgument, "group must be at least 1, got ", group_);
  }

  ConvShape Resolve(const Tensor& x, const Tensor& w) const {
    TK_REQUIRE(Contains(kBytes, w.dtype()), ErrorKind::kDType, "w must be int8 or uint8, got ",
               Name(w.dtype()));
    TK_REQUIRE(w.rank() >= 3, ErrorKind::kShape,
               "w must have two channel dimensions and at least one spatial dimension, got ",
               w.shape().ToString());
    const std::vector<int64_t> kernel(w.shape().begin() + 2, w.shape().end());
    TK_REQUIRE(window_.kernel_shape.empty() || window_.kernel_shape == kernel, ErrorKind::kShape,
               "kernel_shape must be that of w ", w.shape().ToString());
    ConvShape s;
    s.window = window_.Resolve(x.shape(), kernel, false);
    TK_REQUIRE(x.dim(1) % group_ == 0 && x.dim(1) / group_ == w.dim(1), ErrorKind::kShape,
               "x's channels must be group x w's second dimension, got x ", x.shape().ToString(),
               ", w ", w.shape().ToString(), " and group ", group_);
    TK_REQUIRE(w.dim(0) % group_ == 0, ErrorKind::kShape,
               "w's first dimension must be a multiple of group ", group_, ", got ",
               w.shape().ToString());
    s.batch = x.dim(0), s.group = group_, s.in_channels = w.dim(1),
    s.out_channels = w.dim(0) / group_;
    return s;
  }

  static Shape OutputShape(const ConvShape& s) {
    Shape y = {s.batch, s.group * s.out_channels};
    for (int d = 0; d < s.window.rank; ++d) y.push_back(s.window.out[d]);
    return y;
  }

  void Convolve(KernelContext& c, const ConvShape& s, const Tensor& x, const Tensor& w,
                const Tensor* x_zero, const Tensor* w_zero, const Tensor* bias,
                const DepthwiseOutput& depthwise, const PlaneSink& sink) const {
    const int move = x.dtype() == DType::kInt8 ? 128 : 0;
    int32_t x_value = move;
    if (x_zero) {
      CheckZero(*x_zero, x, "x_zero_point");
      TK_REQUIRE(x_zero->size() == 1, ErrorKind::kShape, "x_zero_point must be one number, got ",
                 x_zero->shape().ToString());
      x_value += ValueOf(*x_zero, 0);
    }
    const int w_move = w.dtype() == DType::kUInt8 ? -128 : 0;
    std::vector<int32_t> w_values(1, w_move);
    if (w_zero) {
      CheckZero(*w_zero, w, "w_zero_point");
      CheckChannels(*w_zero, w, "w_zero_point");
      w_values.assign(static_cast<size_t>(w_zero->size()), w_move);
      for (int64_t i = 0; i < w_zero->size(); ++i)
        w_values[static_cast<size_t>(i)] += ValueOf(*w_zero, i);
    }
    const int32_t* biases = bias ? bias->data<int32_t>() : nullptr;
    if (DepthwiseInt8(c, s, x, w, x_value, w_values, biases, depthwise)) return;
    const PackedConvInt8 packed = packed_.defined() ? packed_ : PackedConvInt8(w, group_);
    ConvInt8(c, s, x, packed, x_value, w_values, biases, sink);
  }

  static void CheckChannels(const Tensor& t, const Tensor& w, const char* name) {
    TK_REQUIRE(t.size() == 1 || (t.rank() == 1 && t.dim(0) == w.dim(0)), ErrorKind::kShape, name,
               " must be one number or one for each of the ", w.dim(0), " output channels, got ",
               t.shape().ToString());
  }

 private:
  static void CheckZero(const Tensor& zero, const Tensor& of, const char* name) {
    TK_REQUIRE(zero.dtype() == of.dtype(), ErrorKind::kDType, name, " must have dtype ",
               Name(of.dtype()), ", got ", Name(zero.dtype()));
  }

  WindowAttributes window_;
  int64_t group_;
  int w_input_;
  PackedConvInt8 packed_;
};

class ConvInteger : public IntegerConv {
 public:
  explicit ConvInteger(const Attributes& a) : IntegerConv(a, 1) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &w = c.input(1);
    const ConvShape s = Resolve(x, w);
    const Tensor& y = c.Output(0, DType::kInt32, OutputShape(s));
    if (y.size() == 0) return;
    const int64_t plane = OutCount(s.window), channels = s.group * s.out_channels;
    Convolve(c, s, x, w, c.optional_input(2), c.optional_input(3), nullptr, {y, nullptr, 0},
             [&](int64_t image, int64_t channel, int rows, const int32_t* tile, TileFinish& f,
                 const TileRun* run, const TileRun* end) {
               int32_t* out = y.data<int32_t>() + (image * channels + channel) * plane;
               Int8Functions().to_int32(f, rows, tile, run, end, out, plane);
             });
  }
};

// (x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, B) -> y.
class QLinearConv : public IntegerConv {
 public:
  explicit QLinearConv(const Attributes& a) : IntegerConv(a, 3) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &w = c.input(3), &y_zero = c.input(7);
    const ConvShape s = Resolve(x, w);
    for (int i : {1, 4, 6})
      TK_REQUIRE(c.input(i).dtype() == DType::kFloat, ErrorKind::kDType,
                 "scales must be float32, got ", Name(c.input(i).dtype()));
    const Tensor &x_scale = c.input(1), &w_scale = c.input(4), &y_scale = c.input(6);
    CheckChannels(w_scale, w, "w_scale");
    TK_REQUIRE(x_scale.size() == 1 && y_scale.size() == 1 && y_zero.size() == 1, ErrorKind::kShape,
               "x_scale, y_scale and y_zero_point must be one number each, got ",
               x_scale.shape().ToString(), ", ", y_scale.shape().ToString(), " and ",
               y_zero.shape().ToString());
    TK_REQUIRE(Contains(kBytes, y_zero.dtype()), ErrorKind::kDType,
               "y_zero_point must be int8 or uint8, got ", Name(y_zero.dtype()));
    const int64_t plane = OutCount(s.window), channels = s.group * s.out_channels;
    const Tensor* bias = c.optional_input(8);
    TK_REQUIRE(
        !bias || (bias->dtype() == DType::kInt32 && bias->rank() == 1 && bias->dim(0) == channels),
        ErrorKind::kShape, "B must be int32 with one element for each of the ", channels,
        " output channels, got ", bias ? Name(bias->dtype()) : "",
        bias ? bias->shape().ToString() : "");
    const Tensor& y = c.Output(0, y_zero.dtype(), OutputShape(s));
    if (y.size() == 0) return;
    std::vector<float> multipliers(static_cast<size_t>(channels));
    for (int64_t o = 0; o < channels; ++o)
      multipliers[static_cast<size_t>(o)] = *x_scale.data<float>() *
                                            w_scale.data<float>()[w_scale.size() == 1 ? 0 : o] /
                                            *y_scale.data<float>();
    const bool is_signed = y.dtype() == DType::kInt8;
    const FinishFn finish = is_signed ? Int8Functions().to_int8 : Int8Functions().to_uint8;
    const int32_t zero = ValueOf(y_zero, 0);
    Convolve(c, s, x, w, &c.input(2), &c.input(5), bias, {y, multipliers.data(), zero},
             [&](int64_t image, int64_t channel, int rows, const int32_t* tile, TileFinish& f,
                 const TileRun* run, const TileRun* end) {
               f.multiplier = &multipliers[static_cast<size_t>(channel)];
               f.row_step = 1, f.zero = zero;
               uint8_t* out = y.data<uint8_t>() + (image * channels + channel) * plane;
               finish(f, rows, tile, run, end, out, plane);
             });
  }
};

static const bool kConvInteger = Register<ConvInteger>("ConvInteger").Types(kBytes);
static const bool kQLinearConv = Register<QLinearConv>("QLinearConv").Types(kBytes);

}  // namespace
}  // namespace toolkit
