// toolkit.fused.NarrowMatMul: MatMul by DequantizeLinear of constants, or by constants of 16-bit
// floats, which stay narrow.
#include "kernels/elementwise.h"
#include "kernels/fused.h"
#include "kernels/matmul_shapes.h"
#include "kernels/narrow_weights.h"

namespace toolkit {
namespace {

// (A, weights[, scale][, zero point][, bias]) -> A W + bias, mapped. Attributes: transB, axis and
// block_size as of DequantizeLinear, map and params as of MatMul's twin. A, the bias and the result
// are of one type; of 16 bits, that of the weights, they are widened and narrowed here.
class NarrowMatMul : public Kernel {
 public:
  explicit NarrowMatMul(const Attributes& a)
      : transposed_(a.Int("transB", 0) != 0),
        has_scale_(a.Int("has_scale", 1) != 0),
        has_zero_(a.Int("has_zero", 0) != 0),
        axis_(a.Int("axis", 1)),
        block_(a.Int("block_size", 0)),
        map_(a) {}

  void Prepack(int input, const Tensor& value) override {
    if (input < 1 || input > 3) return;
    parts_[input - 1] = value;
    if (!parts_[0].defined() || parts_[1].defined() != has_scale_ ||
        parts_[2].defined() != has_zero_)
      return;
    const Tensor *scale = has_scale_ ? &parts_[1] : nullptr,
                 *zero = has_zero_ ? &parts_[2] : nullptr;
    weights_ = std::make_unique<NarrowWeights>(
        NarrowParts{parts_[0], scale, zero, transposed_, axis_, block_});
    for (Tensor& part : parts_) part = Tensor();
  }
  bool NeedsConstant(int input) const override { return input == 0 || input > 3; }
  size_t PackedBytes() const override { return weights_ ? weights_->bytes() : 0; }

  void Run(KernelContext& c) const override {
    TK_REQUIRE(weights_, ErrorKind::kInvalidArgument,
               "weights, scale and zero point must be constants");
    const Tensor& a = c.input(0);
    const MatMulShapes s(a.shape(), Shape{weights_->k(), weights_->n()});
    const Tensor* bias = c.optional_input(4);
    TK_REQUIRE(!bias || (bias->dtype() == a.dtype() && bias->size() == s.n), ErrorKind::kShape,
               "a bias of ", s.n, " elements of ", Name(a.dtype()), " is required, got shape ",
               bias->shape().ToString());
    const Tensor& y = c.Output(0, a.dtype(), s.out);
    if (y.size() == 0) return;
    const bool half = a.dtype() != DType::kFloat;
    auto* wide = half ? c.Scratch<float>(y.size()) : y.data<float>();
    weights_->Multiply(c, s.m * s.batch.Count(), Wide(c, a), wide, bias ? Wide(c, *bias) : nullptr,
                       map_.Function<float>(), map_.params());
    if (half) Convert(c, NarrowHalf(a.dtype()), y.raw(), 2, wide, 4, y.size());
  }
  std::string Describe(const KernelContext&) const override { return "narrow"; }

 private:
  static const float* Wide(KernelContext& c, const Tensor& x) {
    if (x.dtype() == DType::kFloat) return x.data<float>();
    auto* wide = c.Scratch<float>(x.size());
    Convert(c, WidenHalf(x.dtype()), wide, 4, x.raw(), 2, x.size());
    return wide;
  }
  static void Convert(KernelContext& c, UnaryFn fn, void* to, int64_t to_item, const void* from,
                      int64_t from_item, int64_t n) {
    c.pool().ParallelFor(n, 32768, [&](int64_t begin, int64_t end) {
      fn(static_cast<char*>(to) + begin * to_item,
         static_cast<const char*>(from) + begin * from_item, end - begin, nullptr);
    });
  }

  bool transposed_, has_scale_, has_zero_;
  int64_t axis_, block_;
  FusedMap map_;
  Tensor parts_[3];  // Until all are known.
  std::unique_ptr<NarrowWeights> weights_;
};

static const bool kNarrowMatMul = Register<NarrowMatMul>("NarrowMatMul")
                                      .Domain("toolkit.fused")
                                      .Types(Bit(DType::kFloat) | kHalves);

}  // namespace
}  // namespace toolkit
