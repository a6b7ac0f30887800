// Conv, ConvTranspose and Conv's gradients: attributes, shapes and checks.
#include <memory>

#include "core/kernel.h"
#include "kernels/conv_activation.h"
#include "kernels/conv_algorithms.h"
#include "kernels/window.h"

namespace toolkit {
namespace {

void RequireSameType(const Tensor& x, const Tensor& other, const char* name) {
  TK_REQUIRE(x.dtype() == other.dtype(), ErrorKind::kDType, name, " must have X's dtype ",
             Name(x.dtype()), ", got ", Name(other.dtype()));
}

void CheckBias(const Tensor& x, const Tensor* bias, int64_t channels) {
  if (!bias) return;
  RequireSameType(x, *bias, "B");
  TK_REQUIRE(bias->rank() == 1 && bias->dim(0) == channels, ErrorKind::kShape,
             "B must have one element for each of the ", channels, " output channels, got ",
             bias->shape().ToString());
}

// A shape handed in as an int64 tensor.
Shape ShapeValue(const Tensor& t, const char* name) {
  TK_REQUIRE(t.dtype() == DType::kInt64 && t.rank() == 1, ErrorKind::kShape, name,
             " must be a vector of int64, got ", Name(t.dtype()), t.shape().ToString());
  const Shape shape(t.data<int64_t>(), static_cast<size_t>(t.size()));
  CheckedBytes(DType::kFloat, shape);
  return shape;
}

// Taps' shape: the weight's trailing dimensions, which the attribute must repeat.
std::vector<int64_t> KernelOf(const Shape& w, const std::vector<int64_t>& attribute) {
  TK_REQUIRE(w.rank() >= 3, ErrorKind::kShape,
             "W must have two channel dimensions and at least one spatial dimension, got ",
             w.ToString());
  std::vector<int64_t> kernel(w.begin() + 2, w.end());
  TK_REQUIRE(attribute.empty() || attribute == kernel, ErrorKind::kShape,
             "kernel_shape must be that of W ", w.ToString(), ". Leave it out or correct it.");
  return kernel;
}

int64_t ParseGroup(const Attributes& attributes) {
  const int64_t group = attributes.Int("group", 1);
  TK_REQUIRE(group >= 1, ErrorKind::kInvalidArgument, "group must be at least 1, got ", group);
  return group;
}

struct ConvAttributes {
  explicit ConvAttributes(const Attributes& attributes)
      : window(attributes), group(ParseGroup(attributes)) {}

  ConvShape Resolve(const Shape& x, const Shape& w) const {
    ConvShape s;
    s.window = window.Resolve(x, KernelOf(w, window.kernel_shape), false);
    TK_REQUIRE(x[1] % group == 0 && x[1] / group == w[1], ErrorKind::kShape,
               "X's channels must be group x W's second dimension, got X ", x.ToString(), ", W ",
               w.ToString(), " and group ", group);
    TK_REQUIRE(w[0] % group == 0, ErrorKind::kShape,
               "W's first dimension must be a multiple of group ", group, ", got ", w.ToString());
    s.batch = x[0], s.group = group, s.in_channels = w[1], s.out_channels = w[0] / group;
    return s;
  }

  WindowAttributes window;
  int64_t group;
};

Shape OutputShape(const ConvShape& s) {
  Shape y = {s.batch, s.group * s.out_channels};
  for (int d = 0; d < s.window.rank; ++d) y.push_back(s.window.out[d]);
  return y;
}

// Weights that are constant, of either type.
class ConstantWeights {
 public:
  void Set(const Tensor& w, bool adjoint) {
    if (w.rank() < 3 || w.size() == 0) return;
    if (w.dtype() == DType::kFloat) float_ = std::make_unique<PackedConvWeights<float>>(w, adjoint);
    if (w.dtype() == DType::kDouble)
      double_ = std::make_unique<PackedConvWeights<double>>(w, adjoint);
  }
  // Null: not constant.
  PackedConvWeights<float>* Get(float) const { return float_.get(); }
  PackedConvWeights<double>* Get(double) const { return double_.get(); }
  size_t bytes() const { return (float_ ? float_->bytes() : 0) + (double_ ? double_->bytes() : 0); }
  ConvPass pass() const { return float_ || double_ ? ConvPass::kForward : ConvPass::kForwardOnce; }

 private:
  std::unique_ptr<PackedConvWeights<float>> float_;
  std::unique_ptr<PackedConvWeights<double>> double_;
};

// FusedConv, made by the runtime alone: activation(Conv(X, W, B) + residual).
class Conv : public Kernel {
 public:
  explicit Conv(const Attributes& attributes)
      : attributes_(attributes), choice_(ParseConvChoice(attributes)), activation_(attributes) {}

  void Prepack(int input, const Tensor& w) override {
    if (input == 1) packed_.Set(w, false);
  }
  size_t PackedBytes() const override { return packed_.bytes(); }
  std::string Describe(const KernelContext& c) const override {
    const ConvShape s = attributes_.Resolve(c.input(0).shape(), c.input(1).shape());
    return ConvAlgorithmName(ChooseConv(s, packed_.pass(), c.input(0).dtype(), choice_));
  }

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &w = c.input(1), *bias = c.optional_input(2);
    RequireSameType(x, w, "W");
    const ConvShape s = attributes_.Resolve(x.shape(), w.shape());
    CheckBias(x, bias, w.dim(0));
    const Tensor* residual = c.optional_input(3);
    if (residual) RequireSameType(x, *residual, "residual");
    TK_REQUIRE(!residual || residual->shape() == OutputShape(s), ErrorKind::kShape,
               "residual must have the output's shape ", OutputShape(s).ToString(), ", got ",
               residual->shape().ToString());
    Tensor& y = c.Output(0, x.dtype(), OutputShape(s));
    const ConvAlgorithm algorithm = ChooseConv(s, packed_.pass(), x.dtype(), choice_);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ConvEpilogue<T> epilogue;
      if (bias) epilogue.bias = bias->data<T>();
      if (residual) epilogue.residual = residual->data<T>();
      activation_.Apply(&epilogue);
      ConvForward<T>(s, algorithm, x.data<T>(), w.data<T>(), packed_.Get(T()), epilogue,
                     y.data<T>());
    });
  }

 private:
  ConvAttributes attributes_;
  ConvChoice choice_;
  ConvActivation activation_;
  ConstantWeights packed_;
};

// The adjoint of a convolution from the output's shape to X's.
class ConvTranspose : public Kernel {
 public:
  explicit ConvTranspose(const Attributes& attributes)
      : window_(attributes), group_(ParseGroup(attributes)) {}

  void Prepack(int input, const Tensor& w) override {
    if (input == 1) packed_.Set(w, true);
  }
  size_t PackedBytes() const override { return packed_.bytes(); }

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &w = c.input(1), *bias = c.optional_input(2);
    RequireSameType(x, w, "W");
    ConvShape s;
    s.window = window_.Resolve(x.shape(), KernelOf(w.shape(), window_.window.kernel_shape));
    TK_REQUIRE(x.dim(1) == w.dim(0), ErrorKind::kShape,
               "X's channels must be W's first dimension, got X ", x.shape().ToString(), " and W ",
               w.shape().ToString());
    TK_REQUIRE(w.dim(0) % group_ == 0, ErrorKind::kShape,
               "W's first dimension must be a multiple of group ", group_, ", got ",
               w.shape().ToString());
    s.batch = x.dim(0), s.group = group_;
    s.in_channels = w.dim(1), s.out_channels = w.dim(0) / group_;
    CheckBias(x, bias, group_ * w.dim(1));
    Shape shape = {s.batch, group_ * w.dim(1)};
    for (int d = 0; d < s.window.rank; ++d) shape.push_back(s.window.in[d]);
    Tensor& y = c.Output(0, x.dtype(), shape);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ConvInputGradient<T>(s, ConvChoice::kAuto, x.data<T>(), w.data<T>(), packed_.Get(T()),
                           bias ? bias->data<T>() : nullptr, y.data<T>());
    });
  }

 private:
  TransposeAttributes window_;
  int64_t group_;
  ConstantWeights packed_;
};

// (dy, w, x_shape) -> dx.
class ConvGradInput : public Kernel {
 public:
  explicit ConvGradInput(const Attributes& attributes)
      : attributes_(attributes), choice_(ParseConvChoice(attributes)) {}

  std::string Describe(const KernelContext& c) const override {
    const ConvShape s = attributes_.Resolve(ShapeValue(c.input(2), "x_shape"), c.input(1).shape());
    return DescribeConvInputGradient(s, c.input(0).dtype(), choice_);
  }

  void Run(KernelContext& c) const override {
    const Tensor &dy = c.input(0), &w = c.input(1);
    RequireSameType(dy, w, "w");
    const Shape x = ShapeValue(c.input(2), "x_shape");
    const ConvShape s = attributes_.Resolve(x, w.shape());
    TK_REQUIRE(dy.shape() == OutputShape(s), ErrorKind::kShape, "dy must have Conv's output shape ",
               OutputShape(s).ToString(), ", got ", dy.shape().ToString());
    Tensor& dx = c.Output(0, dy.dtype(), x);
    DispatchFloats(dy.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ConvInputGradient<T>(s, choice_, dy.data<T>(), w.data<T>(), nullptr, nullptr, dx.data<T>());
    });
  }

 private:
  ConvAttributes attributes_;
  ConvChoice choice_;
};

// (x, dy, w_shape) -> dw.
class ConvGradWeight : public Kernel {
 public:
  explicit ConvGradWeight(const Attributes& attributes)
      : attributes_(attributes), choice_(ParseConvChoice(attributes)) {}

  std::string Describe(const KernelContext& c) const override {
    const ConvShape s = attributes_.Resolve(c.input(0).shape(), ShapeValue(c.input(2), "w_shape"));
    return ConvAlgorithmName(ChooseConv(s, ConvPass::kWeightGradient, c.input(0).dtype(), choice_));
  }

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &dy = c.input(1);
    RequireSameType(x, dy, "dy");
    const Shape w = ShapeValue(c.input(2), "w_shape");
    const ConvShape s = attributes_.Resolve(x.shape(), w);
    TK_REQUIRE(dy.shape() == OutputShape(s), ErrorKind::kShape, "dy must have Conv's output shape ",
               OutputShape(s).ToString(), ", got ", dy.shape().ToString());
    Tensor& dw = c.Output(0, x.dtype(), w);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ConvWeightGradient<T>(s, choice_, x.data<T>(), dy.data<T>(), dw.data<T>());
    });
  }

 private:
  ConvAttributes attributes_;
  ConvChoice choice_;
};

static const bool kConv = Register<Conv>("Conv").Types(kFloats).Widen();
static const bool kFusedConv =
    Register<Conv>("FusedConv").Types(kFloats).Widen().Domain("toolkit.fused");
static const bool kConvTranspose = Register<ConvTranspose>("ConvTranspose").Types(kFloats).Widen();
static const bool kConvGradInput =
    Register<ConvGradInput>("ConvGradInput").Types(kFloats).Widen().Domain("toolkit.grad");
static const bool kConvGradWeight =
    Register<ConvGradWeight>("ConvGradWeight").Types(kFloats).Widen().Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
