// What the elementwise kernel files share: tile programs in a tensor's arithmetic type.
#pragma once

#include "kernels/tile_program.h"

namespace toolkit {

constexpr DTypeSet kAnyFloat = kFloats | kHalves;
constexpr DTypeSet kAnyNumber = kNumbers | kHalves;

UnaryFn FunctionOf(UnaryOp op, Element e);
BinaryFn FunctionOf(BinaryOp op, Element e);
// Conversion between types; both may be half precision only through float32.
UnaryFn WidenHalf(DType t);
UnaryFn NarrowHalf(DType t);

// A program whose steps run in the arithmetic type of `dtype`: half precision widens to float32
// when read and narrows at the end.
class ArithmeticProgram {
 public:
  using Value = TileProgram::Value;
  explicit ArithmeticProgram(DType dtype)
      : dtype_(dtype),
        half_(Contains(kHalves, dtype)),
        element_(half_ ? Element::kF32 : ElementOf(dtype)) {
    if (half_) result_ = program_.Temporary();
  }
  Value Read(const Tensor& x);
  Value Result() const { return result_; }  // Where the last step writes.
  void Unary(UnaryOp op, Value to, Value x, std::initializer_list<double> params = {}) {
    program_.Unary(FunctionOf(op, element_), to, x, params);
  }
  void Binary(BinaryOp op, Value to, Value a, Value b) {
    program_.Binary(FunctionOf(op, element_), to, a, b);
  }
  TileProgram& program() { return program_; }
  Element element() const { return element_; }
  // Narrows the result when needed, and runs.
  void Run(ThreadPool& pool, const Tensor& output, int64_t grain);

 private:
  DType dtype_;
  bool half_;
  Element element_;
  Value result_ = TileProgram::kOutput;
  TileProgram program_;
};

// Fails unless the two inputs have one dtype.
void RequireSameDType(const Tensor& a, const Tensor& b);

}  // namespace toolkit
