// Functions of one operand. One pass over memory, split by elements.
#include "kernels/convert.h"
#include "kernels/elementwise.h"

namespace toolkit {
namespace {

struct UnarySpec {
  UnaryOp op;
  int64_t grain = kCheapGrain;
  // Up to two float attributes and their defaults.
  const char* names[2] = {nullptr, nullptr};
  double defaults[2] = {0, 0};
};

class UnaryKernel : public Kernel {
 public:
  UnaryKernel(const Attributes& a, UnarySpec spec) : spec_(spec) {
    for (int i = 0; i < 2; ++i)
      params_[i] = spec.names[i] ? a.Float(spec.names[i], spec.defaults[i]) : spec.defaults[i];
  }
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    ArithmeticProgram p(x.dtype());
    p.Unary(spec_.op, p.Result(), p.Read(x), {params_[0], params_[1]});
    p.Run(c.pool(), y, spec_.grain);
  }

 protected:
  UnarySpec spec_;
  double params_[2];
};

class GeluKernel : public UnaryKernel {
 public:
  explicit GeluKernel(const Attributes& a) : UnaryKernel(a, {Approximation(a), kMathGrain}) {}

 private:
  static UnaryOp Approximation(const Attributes& a) {
    const std::string name = a.String("approximate", "none");
    TK_REQUIRE(name == "none" || name == "tanh", ErrorKind::kInvalidArgument,
               "attribute 'approximate' must be none or tanh, got '", name, "'");
    return name == "none" ? UnaryOp::kGelu : UnaryOp::kGeluTanh;
  }
};

// IsNaN and IsInf: bool results.
class TestKernel : public Kernel {
 public:
  TestKernel(const Attributes& a, UnaryOp op)
      : op_(op),
        negative_(static_cast<double>(a.Int("detect_negative", 1))),
        positive_(static_cast<double>(a.Int("detect_positive", 1))) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& y = c.Output(0, DType::kBool, x.shape());
    TileProgram p;
    auto v = p.Input(x);
    const Stored stored = ReadAs(x.dtype(), false);
    if (stored.fn) {
      const auto wide = p.Temporary();
      p.Unary(stored.fn, wide, v);
      v = wide;
    }
    p.Unary(FunctionOf(op_, stored.element), TileProgram::kOutput, v, {negative_, positive_});
    p.Run(c.pool(), y, kCheapGrain);
  }

 private:
  UnaryOp op_;
  double negative_, positive_;
};

// Integers are shrunk in float64 and truncated.
class ShrinkKernel : public UnaryKernel {
 public:
  explicit ShrinkKernel(const Attributes& a)
      : UnaryKernel(a, {UnaryOp::kShrink, kCheapGrain, {"lambd", "bias"}, {0.5, 0}}) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    if (!Contains(kInts, x.dtype())) return UnaryKernel::Run(c);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    const int element = static_cast<int>(ElementOf(x.dtype()));
    constexpr int kWide = static_cast<int>(Element::kF64);
    TileProgram p;
    const auto t = p.Temporary();
    p.Unary(CastFunctions().fn[element][kWide], t, p.Input(x));
    p.Unary(FunctionOf(UnaryOp::kShrink, Element::kF64), t, t, {params_[0], params_[1]});
    p.Unary(CastFunctions().fn[kWide][element], TileProgram::kOutput, t);
    p.Run(c.pool(), y, kCheapGrain);
  }
};

// Swish of the gate times the linear input.
class SwiGluKernel : public Kernel {
 public:
  explicit SwiGluKernel(const Attributes& a) : alpha_(a.Float("alpha", 1.0)) {}
  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(1);
    RequireSameDType(a, b);
    TK_REQUIRE(a.shape() == b.shape(), ErrorKind::kShape, "A and B must have one shape, got ",
               a.shape().ToString(), " and ", b.shape().ToString());
    const Tensor& y = c.Output(0, a.dtype(), a.shape());
    ArithmeticProgram p(a.dtype());
    const auto gate = p.Read(a), linear = p.Read(b), t = p.program().Temporary();
    p.Unary(UnaryOp::kSwish, t, gate, {alpha_});
    p.Binary(BinaryOp::kMul, p.Result(), t, linear);
    p.Run(c.pool(), y, kMathGrain);
  }

 private:
  double alpha_;
};

Registration Unary(const char* op_type, UnarySpec spec, DTypeSet types = kAnyFloat) {
  return Register<UnaryKernel>(op_type, spec).Types(types).Inplace(0, 0);
}
constexpr DTypeSet kSigned = kAnyFloat | kSignedInts;

static const bool kFunctions[] = {
    Unary("Neg", {UnaryOp::kNeg}, kSigned),
    Unary("Abs", {UnaryOp::kAbs}, kAnyNumber),
    Unary("Sign", {UnaryOp::kSign}, kAnyNumber),
    Unary("BitwiseNot", {UnaryOp::kBitwiseNot}, kInts),
    Unary("Not", {UnaryOp::kNot}, kBools),
    Unary("Sqrt", {UnaryOp::kSqrt}),
    Unary("Reciprocal", {UnaryOp::kReciprocal}),
    Unary("Ceil", {UnaryOp::kCeil}),
    Unary("Floor", {UnaryOp::kFloor}),
    Unary("Round", {UnaryOp::kRound}),
    Unary("Exp", {UnaryOp::kExp, kMathGrain}),
    Unary("Log", {UnaryOp::kLog, kMathGrain}),
    Unary("Sin", {UnaryOp::kSin, kMathGrain}),
    Unary("Cos", {UnaryOp::kCos, kMathGrain}),
    Unary("Tan", {UnaryOp::kTan, kMathGrain}),
    Unary("Asin", {UnaryOp::kAsin, kMathGrain}),
    Unary("Acos", {UnaryOp::kAcos, kMathGrain}),
    Unary("Atan", {UnaryOp::kAtan, kMathGrain}),
    Unary("Sinh", {UnaryOp::kSinh, kMathGrain}),
    Unary("Cosh", {UnaryOp::kCosh, kMathGrain}),
    Unary("Tanh", {UnaryOp::kTanh, kMathGrain}),
    Unary("Asinh", {UnaryOp::kAsinh, kMathGrain}),
    Unary("Acosh", {UnaryOp::kAcosh, kMathGrain}),
    Unary("Atanh", {UnaryOp::kAtanh, kMathGrain}),
    Unary("Erf", {UnaryOp::kErf, kMathGrain}),
    Register<TestKernel>("IsNaN", UnaryOp::kIsNaN).Types(kAnyFloat | kFloat8s),
    Register<TestKernel>("IsInf", UnaryOp::kIsInf).Types(kAnyFloat | kFloat8s),
};

static const bool kActivations[] = {
    Unary("Relu", {UnaryOp::kRelu}, kSigned),
    Unary("Sigmoid", {UnaryOp::kSigmoid, kMathGrain}),
    Unary("Softplus", {UnaryOp::kSoftplus, kMathGrain}),
    Unary("Softsign", {UnaryOp::kSoftsign}),
    Unary("Mish", {UnaryOp::kMish, kMathGrain}),
    Register<GeluKernel>("Gelu").Types(kAnyFloat).Inplace(0, 0),
    Unary("Swish", {UnaryOp::kSwish, kMathGrain, {"alpha"}, {1.0}}),
    Unary("LeakyRelu", {UnaryOp::kLeakyRelu, kCheapGrain, {"alpha"}, {0.01f}}),
    Unary("ThresholdedRelu", {UnaryOp::kThresholdedRelu, kCheapGrain, {"alpha"}, {1.0}}),
    Unary("Elu", {UnaryOp::kElu, kMathGrain, {"alpha"}, {1.0}}),
    Unary("Celu", {UnaryOp::kCelu, kMathGrain, {"alpha"}, {1.0}}),
    Unary("Selu", {UnaryOp::kSelu,
                   kMathGrain,
                   {"alpha", "gamma"},
                   {1.67326319217681884765625, 1.05070102214813232421875}}),
    Unary("HardSigmoid", {UnaryOp::kHardSigmoid, kCheapGrain, {"alpha", "beta"}, {0.2f, 0.5}}),
    Unary("HardSwish", {UnaryOp::kHardSwish, kCheapGrain, {}, {1.0 / 6, 0.5}}),
    Register<ShrinkKernel>("Shrink").Types(kAnyNumber).Inplace(0, 0),
    Register<SwiGluKernel>("SwiGLU").Types(kAnyFloat).Inplace(0, 0).Inplace(1, 0),
};

}  // namespace
}  // namespace toolkit
