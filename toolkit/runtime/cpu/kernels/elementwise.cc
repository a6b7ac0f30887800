// Arithmetic of two and more operands, and Clip. One pass over memory, split by elements.
#include "kernels/elementwise.h"

#include <algorithm>
#include <cstring>

namespace toolkit {

UnaryFn FunctionOf(UnaryOp op, Element e) {
  const UnaryFn fn = UnaryFunctions().fn[static_cast<int>(op)][static_cast<int>(e)];
  TK_REQUIRE(fn, ErrorKind::kDType, "this operation has no kernel for the given element type");
  return fn;
}
BinaryFn FunctionOf(BinaryOp op, Element e) {
  const BinaryFn fn = BinaryFunctions().fn[static_cast<int>(op)][static_cast<int>(e)];
  TK_REQUIRE(fn, ErrorKind::kDType, "this operation has no kernel for the given element type");
  return fn;
}
UnaryFn WidenHalf(DType t) {
  return t == DType::kFloat16 ? CastFunctions().half_to_float : CastFunctions().bfloat_to_float;
}
UnaryFn NarrowHalf(DType t) {
  return t == DType::kFloat16 ? CastFunctions().float_to_half : CastFunctions().float_to_bfloat;
}

ArithmeticProgram::Value ArithmeticProgram::Read(const Tensor& x) {
  const Value input = program_.Input(x);
  if (!half_) return input;
  const Value wide = program_.Temporary();
  program_.Unary(WidenHalf(dtype_), wide, input);
  return wide;
}
void ArithmeticProgram::Run(ThreadPool& pool, const Tensor& output, int64_t grain) {
  if (half_) program_.Unary(NarrowHalf(dtype_), TileProgram::kOutput, result_);
  program_.Run(pool, output, grain);
}

void RequireSameDType(const Tensor& a, const Tensor& b) {
  TK_REQUIRE(a.dtype() == b.dtype(), ErrorKind::kDType, "inputs must have the same dtype, got ",
             Name(a.dtype()), " and ", Name(b.dtype()), ". Cast one of them");
}

namespace {

class BinaryKernel : public Kernel {
 public:
  BinaryKernel(const Attributes&, BinaryOp op) : op_(op) {}
  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(1);
    RequireSameDType(a, b);
    const Tensor& y = c.Output(0, a.dtype(), BroadcastShapes(a.shape(), b.shape()));
    ArithmeticProgram p(a.dtype());
    const auto u = p.Read(a), v = p.Read(b);
    p.Binary(op_, p.Result(), u, v);
    p.Run(c.pool(), y, kCheapGrain);
  }

 protected:
  BinaryOp op_;
};

class ModKernel : public BinaryKernel {
 public:
  explicit ModKernel(const Attributes& a)
      : BinaryKernel(a, a.Int("fmod", 0) ? BinaryOp::kFMod : BinaryOp::kMod) {}
};

class BitShiftKernel : public BinaryKernel {
 public:
  explicit BitShiftKernel(const Attributes& a) : BinaryKernel(a, Direction(a)) {}

 private:
  static BinaryOp Direction(const Attributes& a) {
    const std::string direction = a.String("direction", "");
    TK_REQUIRE(direction == "LEFT" || direction == "RIGHT", ErrorKind::kInvalidArgument,
               "attribute 'direction' must be LEFT or RIGHT, got '", direction, "'");
    return direction == "LEFT" ? BinaryOp::kShiftLeft : BinaryOp::kShiftRight;
  }
};

// The slope broadcasts to x, not the other way.
void PRelu(KernelContext& c) {
  const Tensor &x = c.input(0), &slope = c.input(1);
  RequireSameDType(x, slope);
  const Tensor& y = c.Output(0, x.dtype(), x.shape());
  ArithmeticProgram p(x.dtype());
  const auto u = p.Read(x), v = p.Read(slope);
  p.Binary(BinaryOp::kPRelu, p.Result(), u, v);
  p.Run(c.pool(), y, kCheapGrain);
}

// The result has the base's type; an exponent of another type meets it in float32 or float64.
class PowKernel : public Kernel {
 public:
  explicit PowKernel(const Attributes&) {}
  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &e = c.input(1);
    const Tensor& y = c.Output(0, x.dtype(), BroadcastShapes(x.shape(), e.shape()));
    if (e.size() == 1 && Contains(kFloats, x.dtype()) && SmallPower(c, x, e, y)) return;
    TileProgram p;
    const Element common = CommonElement(x.dtype(), e.dtype());
    const auto a = Converted(p, x, common), b = Converted(p, e, common);
    const BinaryFn pow = FunctionOf(BinaryOp::kPow, common);
    const bool half = Contains(kHalves, x.dtype());
    if (!half && ElementOf(x.dtype()) == common) {
      p.Binary(pow, TileProgram::kOutput, a, b);
    } else {
      const auto t = p.Temporary();
      p.Binary(pow, t, a, b);
      p.Unary(half ? NarrowHalf(x.dtype()) : CastFn(common, ElementOf(x.dtype())),
              TileProgram::kOutput, t);
    }
    p.Run(c.pool(), y, kSlowGrain);
  }

 private:
  static UnaryFn CastFn(Element from, Element to) {
    return CastFunctions().fn[static_cast<int>(from)][static_cast<int>(to)];
  }
  // float32 for halves and float32 bases; the base's own type when the exponent has it too.
  static Element CommonElement(DType base, DType exponent) {
    if (base == exponent && !Contains(kHalves, base)) return ElementOf(base);
    if (Contains(kHalves, base) || base == DType::kFloat) return Element::kF32;
    if (base == DType::kDouble || !Contains(kInts, exponent)) return Element::kF64;
    return Element::kI64;
  }
  static TileProgram::Value Converted(TileProgram& p, const Tensor& x, Element to) {
    auto v = p.Input(x);
    Element from = Element::kF32;
    if (Contains(kHalves, x.dtype())) {
      const auto t = p.Temporary();
      p.Unary(WidenHalf(x.dtype()), t, v);
      v = t;
    } else {
      from = ElementOf(x.dtype());
    }
    if (from == to) return v;
    const auto t = p.Temporary();
    p.Unary(CastFn(from, to), t, v);
    return t;
  }
  // x^2 and x^3 by multiplication.
  static bool SmallPower(KernelContext& c, const Tensor& x, const Tensor& e, const Tensor& y) {
    double power = 0;
    if (e.dtype() == DType::kFloat) power = *e.data<float>();
    if (e.dtype() == DType::kDouble) power = *e.data<double>();
    if (e.dtype() == DType::kInt64) power = static_cast<double>(*e.data<int64_t>());
    if (power != 2 && power != 3) return false;
    ArithmeticProgram p(x.dtype());
    const auto v = p.Read(x), t = p.program().Temporary();
    if (power == 3) p.Binary(BinaryOp::kMul, t, v, v);
    p.Binary(BinaryOp::kMul, p.Result(), power == 3 ? t : v, v);
    p.Run(c.pool(), y, kCheapGrain);
    return true;
  }
};

// Sum, Mean, Min, Max of any number of inputs; folds a few at a time into the output.
class VariadicKernel : public Kernel {
 public:
  VariadicKernel(const Attributes&, BinaryOp op, bool mean) : op_(op), mean_(mean) {}
  void Run(KernelContext& c) const override {
    const Tensor& first = c.input(0);
    Shape shape = first.shape();
    for (int i = 1; i < c.num_inputs(); ++i) {
      RequireSameDType(first, c.input(i));
      shape = BroadcastShapes(shape, c.input(i).shape());
    }
    const Tensor& y = c.Output(0, first.dtype(), shape);
    if (c.num_inputs() == 1) {
      if (y.raw() != first.raw() && y.bytes()) std::memcpy(y.raw(), first.raw(), y.bytes());
      return;
    }
    const float count32 = static_cast<float>(c.num_inputs());
    const double count64 = c.num_inputs();
    const Tensor count = first.dtype() == DType::kDouble
                             ? Tensor(DType::kDouble, Shape{}, const_cast<double*>(&count64))
                             : Tensor(DType::kFloat, Shape{}, const_cast<float*>(&count32));
    constexpr int kGroup = 3;  // Keeps the tiles of a program few.
    for (int next = 1; next < c.num_inputs();) {
      ArithmeticProgram p(first.dtype());
      auto sum = p.Read(next == 1 ? first : y);
      for (const int end = std::min(c.num_inputs(), next + kGroup); next < end; ++next) {
        p.Binary(op_, p.Result(), sum, p.Read(c.input(next)));
        sum = p.Result();
      }
      if (mean_ && next == c.num_inputs())
        p.Binary(BinaryOp::kDiv, sum, sum, p.program().Input(count));
      p.Run(c.pool(), y, kCheapGrain);
    }
  }

 private:
  BinaryOp op_;
  bool mean_;
};

// Bounded below, then above: where they cross, the upper bound wins.
void Clip(KernelContext& c) {
  const Tensor& x = c.input(0);
  ArithmeticProgram p(x.dtype());
  auto v = p.Read(x);
  Tensor scalars[2];
  int bounds = 0;
  for (int i : {1, 2}) {
    const Tensor* bound = c.optional_input(i);
    if (!bound) continue;
    RequireSameDType(x, *bound);
    TK_REQUIRE(bound->size() == 1, ErrorKind::kShape, i == 1 ? "min" : "max",
               " must be a scalar, got shape ", bound->shape().ToString());
    scalars[i - 1] = bound->Reshaped(Shape{});
    p.Binary(i == 1 ? BinaryOp::kMax : BinaryOp::kMin, p.Result(), v, p.Read(scalars[i - 1]));
    v = p.Result();
    ++bounds;
  }
  const Tensor& y = c.Output(0, x.dtype(), x.shape());
  if (bounds) return p.Run(c.pool(), y, kCheapGrain);
  if (y.raw() != x.raw() && y.bytes()) std::memcpy(y.raw(), x.raw(), y.bytes());
}

Registration Binary(const char* op_type, BinaryOp op, DTypeSet types) {
  return Register<BinaryKernel>(op_type, op).Types(types).Inplace(0, 0).Inplace(1, 0);
}
static const bool kBinary[] = {
    Binary("Add", BinaryOp::kAdd, kAnyNumber),
    Binary("Sub", BinaryOp::kSub, kAnyNumber),
    Binary("Mul", BinaryOp::kMul, kAnyNumber),
    Binary("Div", BinaryOp::kDiv, kAnyNumber),
    Binary("And", BinaryOp::kBitwiseAnd, kBools),
    Binary("Or", BinaryOp::kBitwiseOr, kBools),
    Binary("Xor", BinaryOp::kBitwiseXor, kBools),
    Binary("BitwiseAnd", BinaryOp::kBitwiseAnd, kInts),
    Binary("BitwiseOr", BinaryOp::kBitwiseOr, kInts),
    Binary("BitwiseXor", BinaryOp::kBitwiseXor, kInts),
    Register<ModKernel>("Mod").Types(kAnyNumber).Inplace(0, 0).Inplace(1, 0),
    Register<BitShiftKernel>("BitShift").Types(kInts).Inplace(0, 0).Inplace(1, 0),
    Register<PowKernel>("Pow").Types(kAnyNumber).Inplace(0, 0),
    RegisterFn("PRelu", PRelu).Types(kAnyNumber).Inplace(0, 0),
    RegisterFn("Clip", Clip).Types(kAnyNumber).Inplace(0, 0),
};
static const bool kVariadic[] = {
    Register<VariadicKernel>("Sum", BinaryOp::kAdd, false).Types(kAnyNumber).Inplace(0, 0),
    Register<VariadicKernel>("Mean", BinaryOp::kAdd, true).Types(kAnyFloat).Inplace(0, 0),
    Register<VariadicKernel>("Min", BinaryOp::kMin, false).Types(kAnyNumber).Inplace(0, 0),
    Register<VariadicKernel>("Max", BinaryOp::kMax, false).Types(kAnyNumber).Inplace(0, 0),
};

}  // namespace
}  // namespace toolkit
