// Elementwise operators.
#include "simd/elementwise.h"

#include "core/kernel.h"

namespace toolkit {
namespace {

constexpr DTypeSet kTypes = kFloats | Bit(DType::kInt32) | Bit(DType::kInt64);

ElementType ElementTypeOf(DType t) {
  switch (t) {
    case DType::kFloat:
      return kF32;
    case DType::kDouble:
      return kF64;
    case DType::kInt32:
      return kI32;
    case DType::kInt64:
      return kI64;
    default:
      FailDType(t);
  }
}

void Relu(KernelContext& c) {
  const Tensor& x = c.input(0);
  Tensor& y = c.Output(0, x.dtype(), x.shape());
  const UnaryFn fn = Elementwise().relu[ElementTypeOf(x.dtype())];
  const size_t item = ItemSize(x.dtype());
  c.pool().ParallelFor(x.size(), 16384, [&](int64_t begin, int64_t end) {
    fn(y.data<char>() + begin * item, x.data<char>() + begin * item, end - begin);
  });
}

static const bool kRelu = RegisterFn("Relu", Relu).Types(kTypes).Inplace(0, 0);

}  // namespace
}  // namespace toolkit
