// toolkit.fused.NarrowMatMul: MatMul by DequantizeLinear of constants, which stay narrow.
#include "kernels/fused.h"
#include "kernels/matmul_shapes.h"
#include "kernels/narrow_weights.h"

namespace toolkit {
namespace {

// (A, weights, scale[, zero point][, bias]) -> A W + bias, mapped. Attributes: transB, axis and
// block_size as of DequantizeLinear, map and params as of MatMul's twin.
class NarrowMatMul : public Kernel {
 public:
  explicit NarrowMatMul(const Attributes& a)
      : transposed_(a.Int("transB", 0) != 0),
        has_zero_(a.Int("has_zero", 0) != 0),
        axis_(a.Int("axis", 1)),
        block_(a.Int("block_size", 0)),
        map_(a) {}

  void Prepack(int input, const Tensor& value) override {
    if (input < 1 || input > 3) return;
    parts_[input - 1] = value;
    if (!parts_[0].defined() || !parts_[1].defined() || parts_[2].defined() != has_zero_) return;
    weights_ = std::make_unique<NarrowWeights>(QuantizedWeights{
        parts_[0], parts_[1], has_zero_ ? &parts_[2] : nullptr, transposed_, axis_, block_});
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
    TK_REQUIRE(!bias || (bias->dtype() == DType::kFloat && bias->size() == s.n), ErrorKind::kShape,
               "a bias of ", s.n, " float32 elements is required, got shape ",
               bias->shape().ToString());
    const Tensor& y = c.Output(0, DType::kFloat, s.out);
    if (y.size() == 0) return;
    weights_->Multiply(c, s.m * s.batch.Count(), a.data<float>(), y.data<float>(),
                       bias ? bias->data<float>() : nullptr, map_.Function<float>(), map_.params());
  }
  std::string Describe(const KernelContext&) const override { return "narrow"; }

 private:
  bool transposed_, has_zero_;
  int64_t axis_, block_;
  FusedMap map_;
  Tensor parts_[3];  // Until all are known.
  std::unique_ptr<NarrowWeights> weights_;
};

static const bool kNarrowMatMul =
    Register<NarrowMatMul>("NarrowMatMul").Domain("toolkit.fused").Types(Bit(DType::kFloat));

}  // namespace
}  // namespace toolkit
