// Comparisons and Where. One pass over memory, split by elements.
#include "kernels/elementwise.h"

namespace toolkit {
namespace {

class CompareKernel : public Kernel {
 public:
  CompareKernel(const Attributes&, BinaryOp op, bool swapped) : op_(op), swapped_(swapped) {}
  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(swapped_ ? 1 : 0), &b = c.input(swapped_ ? 0 : 1);
    RequireSameDType(c.input(0), c.input(1));
    const Tensor& y = c.Output(0, DType::kBool, BroadcastShapes(a.shape(), b.shape()));
    const Tensor x = Comparable(a), z = Comparable(b);
    ArithmeticProgram p(x.dtype());
    const auto u = p.Read(x), v = p.Read(z);
    p.program().Binary(FunctionOf(op_, p.element()), TileProgram::kOutput, u, v);
    p.program().Run(c.pool(), y, kCheapGrain);
  }

 private:
  // Equal strings have equal references.
  static Tensor Comparable(const Tensor& t) {
    return t.dtype() == DType::kString ? Tensor(DType::kUInt64, t.shape(), t.raw()) : t;
  }
  BinaryOp op_;
  bool swapped_;
};

void Where(KernelContext& c) {
  const Tensor &condition = c.input(0), &a = c.input(1), &b = c.input(2);
  TK_REQUIRE(condition.dtype() == DType::kBool, ErrorKind::kDType,
             "the condition must be bool, got ", Name(condition.dtype()));
  RequireSameDType(a, b);
  const Shape shape = BroadcastShapes(condition.shape(), BroadcastShapes(a.shape(), b.shape()));
  const size_t item = ItemSize(a.dtype());
  TK_REQUIRE(item != 0, ErrorKind::kDType, "elements of fixed size are required, got ",
             Name(a.dtype()));
  const Tensor& y = c.Output(0, a.dtype(), shape);
  TileProgram p;
  const auto q = p.Input(condition), u = p.Input(a), v = p.Input(b);
  p.Select(CastFunctions().select[__builtin_ctzll(item)], item, TileProgram::kOutput, q, u, v);
  p.Run(c.pool(), y, kCheapGrain);
}

Registration Compare(const char* op_type, BinaryOp op, bool swapped, DTypeSet types) {
  return Register<CompareKernel>(op_type, op, swapped).Types(types);
}
static const bool kLogical[] = {
    Compare("Equal", BinaryOp::kEqual, false, kAnyNumber | kBools | kStrings),
    Compare("Less", BinaryOp::kLess, false, kAnyNumber),
    Compare("LessOrEqual", BinaryOp::kLessOrEqual, false, kAnyNumber),
    Compare("Greater", BinaryOp::kLess, true, kAnyNumber),
    Compare("GreaterOrEqual", BinaryOp::kLessOrEqual, true, kAnyNumber),
    RegisterFn("Where", Where).Types(kBools).Inplace(1, 0).Inplace(2, 0),
};

}  // namespace
}  // namespace toolkit
