// toolkit.fused.Elementwise: a connected piece of elementwise nodes as one tile program.
//
// Attributes: `ops` names the steps, `operands` holds three numbers a step (i >= 0: input i; -2 -
// s: the result of step s; -1: none), `params` two a step. The last step is the output. Half
// precision is float32 between the ends; a Cast rounds as it would alone. One pass over memory,
// split by elements.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/fused.h"

namespace toolkit {
namespace {

enum class Kind { kUnary, kTest, kBinary, kCompare, kSelect, kCast };

struct OpSpec {
  const char* name;
  Kind kind;
  int op;    // UnaryOp or BinaryOp.
  int cost;  // Of one element, an addition being 1.
};

constexpr OpSpec Cheap(const char* name, UnaryOp op) {
  return {name, Kind::kUnary, static_cast<int>(op), 1};
}
constexpr OpSpec Math(const char* name, UnaryOp op) {
  return {name, Kind::kUnary, static_cast<int>(op), 4};
}
constexpr OpSpec Two(const char* name, BinaryOp op, Kind kind = Kind::kBinary) {
  return {name, kind, static_cast<int>(op), op == BinaryOp::kPow ? 16 : 1};
}

constexpr OpSpec kSpecs[] = {
    Two("Add", BinaryOp::kAdd),
    Two("Sub", BinaryOp::kSub),
    Two("Mul", BinaryOp::kMul),
    Two("Div", BinaryOp::kDiv),
    Two("Min", BinaryOp::kMin),
    Two("Max", BinaryOp::kMax),
    Two("Pow", BinaryOp::kPow),
    Two("And", BinaryOp::kBitwiseAnd),
    Two("Or", BinaryOp::kBitwiseOr),
    Two("Xor", BinaryOp::kBitwiseXor),
    Two("Equal", BinaryOp::kEqual, Kind::kCompare),
    Two("Less", BinaryOp::kLess, Kind::kCompare),
    Two("LessOrEqual", BinaryOp::kLessOrEqual, Kind::kCompare),
    {"Where", Kind::kSelect, 0, 1},
    {"Cast", Kind::kCast, 0, 1},
    Cheap("Neg", UnaryOp::kNeg),
    Cheap("Abs", UnaryOp::kAbs),
    Cheap("Sign", UnaryOp::kSign),
    Cheap("Relu", UnaryOp::kRelu),
    Cheap("Not", UnaryOp::kNot),
    Cheap("Sqrt", UnaryOp::kSqrt),
    Cheap("Reciprocal", UnaryOp::kReciprocal),
    Cheap("Ceil", UnaryOp::kCeil),
    Cheap("Floor", UnaryOp::kFloor),
    Cheap("Round", UnaryOp::kRound),
    Cheap("Softsign", UnaryOp::kSoftsign),
    Cheap("LeakyRelu", UnaryOp::kLeakyRelu),
    Cheap("ThresholdedRelu", UnaryOp::kThresholdedRelu),
    Cheap("HardSigmoid", UnaryOp::kHardSigmoid),
    Cheap("HardSwish", UnaryOp::kHardSwish),
    Cheap("Shrink", UnaryOp::kShrink),
    Math("Exp", UnaryOp::kExp),
    Math("Log", UnaryOp::kLog),
    Math("Sigmoid", UnaryOp::kSigmoid),
    Math("Tanh", UnaryOp::kTanh),
    Math("Erf", UnaryOp::kErf),
    Math("Gelu", UnaryOp::kGelu),
    Math("GeluTanh", UnaryOp::kGeluTanh),
    Math("Softplus", UnaryOp::kSoftplus),
    Math("Mish", UnaryOp::kMish),
    Math("Swish", UnaryOp::kSwish),
    Math("Elu", UnaryOp::kElu),
    Math("Selu", UnaryOp::kSelu),
    Math("Celu", UnaryOp::kCelu),
    Math("Sin", UnaryOp::kSin),
    Math("Cos", UnaryOp::kCos),
    Math("Atan", UnaryOp::kAtan),
    {"IsNaN", Kind::kTest, static_cast<int>(UnaryOp::kIsNaN), 1},
};

const OpSpec& SpecOf(const std::string& name) {
  for (const OpSpec& spec : kSpecs)
    if (name == spec.name) return spec;
  Fail(ErrorKind::kUnsupported, "attribute ops: no step is called '", name, "'");
}

}  // namespace

UnaryOp FusedFunction(const std::string& name) {
  const OpSpec& spec = SpecOf(name);
  TK_REQUIRE(spec.kind == Kind::kUnary, ErrorKind::kInvalidArgument,
             "a function of one operand is required, got '", name, "'");
  return static_cast<UnaryOp>(spec.op);
}

namespace {

constexpr int kNone = -1;

struct Step {
  const OpSpec* spec;
  int operands[3];
  double params[2];
};

// One run: gives steps their types, and temporaries to results as long as they live.
class Assembly {
 public:
  Assembly(KernelContext& c, const std::vector<Step>& steps, const std::vector<int>& last_use)
      : c_(c), steps_(steps), last_use_(last_use), values_(last_use.size()) {
    for (int i = 0; i < c.num_inputs(); ++i) {
      const Tensor& x = c.input(i);
      shape_ = i == 0 ? x.shape() : BroadcastShapes(shape_, x.shape());
      values_[i] = {program_.Input(x), x.dtype(), false};
    }
  }

  void Run() {
    for (int s = 0; s < static_cast<int>(steps_.size()); ++s) Add(s);
    const Held& result = values_.back();
    if (Contains(kHalves, result.dtype))
      program_.Unary(NarrowHalf(result.dtype), TileProgram::kOutput, result.value);
    int64_t cost = 0;
    for (const Step& step : steps_) cost += step.spec->cost;
    const int64_t grain = std::max<int64_t>(kSlowGrain, kCheapGrain / cost / 64 * 64);
    program_.Run(c_.pool(), c_.Output(0, result.dtype, shape_), grain);
  }

 private:
  struct Held {
    TileProgram::Value value;
    DType dtype;
    bool temporary;
  };

  int Index(int operand) const { return operand >= 0 ? operand : c_.num_inputs() - operand - 2; }
  static Element Arithmetic(DType t) { return Contains(kHalves, t) ? Element::kF32 : ElementOf(t); }
  static size_t Bytes(DType t) { return Contains(kHalves, t) ? sizeof(float) : ItemSize(t); }

  TileProgram::Value Take() {
    if (free_.empty()) return program_.Temporary();
    const TileProgram::Value v = free_.back();
    free_.pop_back();
    return v;
  }

  // An operand as arithmetic reads it.
  const Held& Read(int operand) {
    Held& held = values_[Index(operand)];
    if (operand >= 0 && !held.temporary && Contains(kHalves, held.dtype)) {
      const TileProgram::Value wide = Take();
      program_.Unary(WidenHalf(held.dtype), wide, held.value);
      held.value = wide;
      held.temporary = true;
    }
    return held;
  }

  // Frees the temporaries that step s reads last, of elements as large as the result's or not.
  void Release(int s, size_t bytes, bool same) {
    for (int k = 0; k < 3; ++k) {
      const int operand = steps_[s].operands[k];
      if (operand == kNone) continue;
      Held& held = values_[Index(operand)];
      if (!held.temporary || last_use_[Index(operand)] != s) continue;
      if ((Bytes(held.dtype) == bytes) != same) continue;
      free_.push_back(held.value);
      held.temporary = false;
    }
  }

  void Add(int s) {
    const Step& step = steps_[s];
    Held in[3];
    int count = 0;
    for (; count < 3 && step.operands[count] != kNone; ++count)
      in[count] = Read(step.operands[count]);
    const Kind kind = step.spec->kind;
    const int first = kind == Kind::kSelect ? 1 : 0;
    for (int k = first + 1; k < count; ++k)
      TK_REQUIRE(in[k].dtype == in[first].dtype, ErrorKind::kDType, step.spec->name,
                 ": inputs must have the same dtype, got ", Name(in[first].dtype), " and ",
                 Name(in[k].dtype), ". Cast one of them");
    if (kind == Kind::kSelect)
      TK_REQUIRE(in[0].dtype == DType::kBool, ErrorKind::kDType,
                 "Where: the condition must be bool, got ", Name(in[0].dtype));
    const DType dtype = kind == Kind::kCast ? static_cast<DType>(static_cast<int>(step.params[0]))
                        : kind == Kind::kCompare || kind == Kind::kTest ? DType::kBool
                                                                        : in[first].dtype;
    Release(s, Bytes(dtype), true);
    const bool last = s + 1 == static_cast<int>(steps_.size());
    const bool direct = last && !Contains(kHalves, dtype);
    const TileProgram::Value to = direct ? TileProgram::kOutput : Take();
    if (kind == Kind::kCast) {
      AddCast(in[0], dtype, to);
    } else {
      const Element e = Arithmetic(in[first].dtype);
      if (kind == Kind::kSelect)
        program_.Select(CastFunctions().select[__builtin_ctzll(Bytes(dtype))], Bytes(dtype), to,
                        in[0].value, in[1].value, in[2].value);
      else if (kind == Kind::kBinary || kind == Kind::kCompare)
        program_.Binary(FunctionOf(static_cast<BinaryOp>(step.spec->op), e), to, in[0].value,
                        in[1].value);
      else
        program_.Unary(FunctionOf(static_cast<UnaryOp>(step.spec->op), e), to, in[0].value,
                       {step.params[0], step.params[1]});
    }
    values_[c_.num_inputs() + s] = {to, dtype, !direct};
    Release(s, Bytes(dtype), false);
  }

  void AddCast(const Held& x, DType dtype, TileProgram::Value to) {
    const Element from = Arithmetic(x.dtype), target = Arithmetic(dtype);
    const CastTable& table = CastFunctions();
    const int f = static_cast<int>(from), t = static_cast<int>(target);
    if (dtype == DType::kBool) return program_.Unary(table.to_bool[f], to, x.value);
    program_.Unary(table.fn[f][t], to, x.value);
    if (!Contains(kHalves, dtype)) return;
    const TileProgram::Value narrow = Take();
    program_.Unary(NarrowHalf(dtype), narrow, to);
    program_.Unary(WidenHalf(dtype), to, narrow);
    free_.push_back(narrow);
  }

  KernelContext& c_;
  const std::vector<Step>& steps_;
  const std::vector<int>& last_use_;  // By input and then by step.
  std::vector<Held> values_;
  std::vector<TileProgram::Value> free_;
  TileProgram program_;
  Shape shape_;
};

class Elementwise : public Kernel {
 public:
  explicit Elementwise(const Attributes& a) {
    const std::vector<std::string> ops = a.Strings("ops");
    const std::vector<int64_t> operands = a.Ints("operands");
    const std::vector<double> params = a.Floats("params");
    TK_REQUIRE(!ops.empty() && operands.size() == 3 * ops.size() && params.size() == 2 * ops.size(),
               ErrorKind::kInvalidArgument, "three operands and two params a step are required");
    for (size_t s = 0; s < ops.size(); ++s) {
      Step step = {&SpecOf(ops[s]), {}, {params[2 * s], params[2 * s + 1]}};
      const Kind kind = step.spec->kind;
      const int arity = kind == Kind::kSelect                             ? 3
                        : kind == Kind::kBinary || kind == Kind::kCompare ? 2
                                                                          : 1;
      for (int k = 0; k < 3; ++k) {
        const int64_t operand = operands[3 * s + static_cast<size_t>(k)];
        TK_REQUIRE((operand == kNone) == (k >= arity) && operand >= -1 - static_cast<int64_t>(s) &&
                       operand < TileProgram::kMaxValues,
                   ErrorKind::kInvalidArgument, "attribute operands: ", ops[s],
                   " must read inputs or earlier steps, got ", operand);
        step.operands[k] = static_cast<int>(operand);
        num_inputs_ = std::max(num_inputs_, step.operands[k] + 1);
      }
      steps_.push_back(step);
    }
    last_use_.assign(static_cast<size_t>(num_inputs_) + steps_.size(), -1);
    for (size_t s = 0; s < steps_.size(); ++s)
      for (int operand : steps_[s].operands)
        if (operand != kNone)
          last_use_[operand >= 0 ? operand : num_inputs_ - operand - 2] = static_cast<int>(s);
  }

  void Run(KernelContext& c) const override {
    TK_REQUIRE(c.num_inputs() == num_inputs_, ErrorKind::kInvalidArgument, num_inputs_,
               " inputs are required, got ", c.num_inputs());
    Assembly(c, steps_, last_use_).Run();
  }

 private:
  std::vector<Step> steps_;
  std::vector<int> last_use_;
  int num_inputs_ = 0;
};

constexpr DTypeSet kTypes = kAnyNumber | kBools;

// The output may take the memory of an input whose elements are not larger than its own: equal
// sizes then mean equal shapes. "Narrowing" programs have an input of larger elements.
static const bool kFused[] = {
    Register<Elementwise>("Elementwise")
        .Domain("toolkit.fused")
        .Types(kTypes)
        .Inplace(0, 0)
        .Inplace(1, 0)
        .Inplace(2, 0)
        .Inplace(3, 0)
        .Inplace(4, 0)
        .Inplace(5, 0)
        .Inplace(6, 0)
        .Inplace(7, 0),
    Register<Elementwise>("ElementwiseNarrowing").Domain("toolkit.fused").Types(kTypes),
};

}  // namespace
}  // namespace toolkit
