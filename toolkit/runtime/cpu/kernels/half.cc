#include "kernels/half.h"

namespace toolkit {

namespace {

uint16_t NarrowBits(DType to, float x) {
  uint16_t bits;
  NarrowHalf(to)(&bits, &x, 1, nullptr);
  return bits;
}
float WidenBits(DType from, uint16_t bits) {
  float x;
  WidenHalf(from)(&x, &bits, 1, nullptr);
  return x;
}

}  // namespace

Float16::Float16(float x) : bits(NarrowBits(DType::kFloat16, x)) {}
Float16::operator float() const { return WidenBits(DType::kFloat16, bits); }
BFloat16::BFloat16(float x) : bits(NarrowBits(DType::kBFloat16, x)) {}
BFloat16::operator float() const { return WidenBits(DType::kBFloat16, bits); }

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

void Narrow(ThreadPool& pool, const Tensor& wide, const Tensor& y) {
  const UnaryFn narrow = NarrowHalf(y.dtype());
  pool.ParallelFor(y.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
    narrow(y.data<uint16_t>() + begin, wide.data<float>() + begin, end - begin, nullptr);
  });
}

WideOutput::WideOutput(KernelContext& c, int index, DType dtype, const Shape& shape)
    : c_(c), output_(c.Output(index, dtype, shape)), wide_(output_) {
  if (!Contains(kHalves, dtype)) return;
  CheckedBytes(DType::kFloat, shape);
  wide_ = Tensor(DType::kFloat, shape, c.Scratch<float>(output_.size()));
}

void WideOutput::Finish() {
  if (wide_.dtype() != output_.dtype()) Narrow(c_.pool(), wide_, output_);
}

}  // namespace toolkit
