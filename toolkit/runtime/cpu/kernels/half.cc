#include "kernels/half.h"

namespace toolkit {

namespace {

uint16_t Narrow(DType to, float x) {
  uint16_t bits;
  NarrowHalf(to)(&bits, &x, 1, nullptr);
  return bits;
}
float Widen(DType from, uint16_t bits) {
  float x;
  WidenHalf(from)(&x, &bits, 1, nullptr);
  return x;
}

}  // namespace

Float16::Float16(float x) : bits(Narrow(DType::kFloat16, x)) {}
Float16::operator float() const { return Widen(DType::kFloat16, bits); }
BFloat16::BFloat16(float x) : bits(Narrow(DType::kBFloat16, x)) {}
BFloat16::operator float() const { return Widen(DType::kBFloat16, bits); }

Tensor Widened(KernelContext& c, const Tensor& x) {
  if (!Contains(kHalves, x.dtype())) return x;
  CheckedBytes(DType::kFloat, x.shape());
  const Tensor wide(DType::kFloat, x.shape(), c.Scratch<float>(x.size()));
  const UnaryFn widen = WidenHalf(x.dtype());
  c.pool().ParallelFor(x.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
    widen(wide.data<float>() + begin, x.data<uint16_t>() + begin, end - begin, nullptr);
  });
  return wide;
}

WideOutput::WideOutput(KernelContext& c, int index, DType dtype, const Shape& shape)
    : c_(c), output_(c.Output(index, dtype, shape)), wide_(output_) {
  if (!Contains(kHalves, dtype)) return;
  CheckedBytes(DType::kFloat, shape);
  wide_ = Tensor(DType::kFloat, shape, c.Scratch<float>(output_.size()));
}

void WideOutput::Finish() {
  if (wide_.raw() == output_.raw() || output_.size() == 0) return;
  const UnaryFn narrow = NarrowHalf(output_.dtype());
  c_.pool().ParallelFor(output_.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
    narrow(output_.data<uint16_t>() + begin, wide_.data<float>() + begin, end - begin, nullptr);
  });
}

}  // namespace toolkit
