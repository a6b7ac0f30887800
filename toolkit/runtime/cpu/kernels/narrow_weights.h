// A constant right operand of integers with scales, kept narrow; see simd/weights.h.
#pragma once

#include <functional>
#include <memory>

#include "core/gemm.h"
#include "core/kernel.h"
#include "simd/weights.h"

namespace toolkit {

// Integer weights (K, N), or (N, K) if transposed, and how their scales are laid out: a number for
// all, one for each of N, or one for each block of K and each of N.
struct QuantizedWeights {
  const Tensor& codes;
  const Tensor& scale;
  const Tensor* zero;  // Null: none.
  bool transposed;
  int64_t axis, block;  // As of DequantizeLinear; a block of 0: not blocked.
};

class NarrowWeights : public PanelSource<float> {
 public:
  explicit NarrowWeights(const QuantizedWeights& weights);

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  size_t bytes() const { return data_->bytes(); }
  bool zeros() const { return zeros_; }
  int64_t groups() const { return (k_ + group_ - 1) / group_; }

  // c = map(a W + bias), a of m rows. Few rows read the weights as they are; many unpack a block of
  // them into a cache at a time. Split over columns, so that threads do not matter.
  void Multiply(KernelContext& c, int64_t m, const float* a, float* y, const float* bias,
                UnaryFn map, const double* params) const;

  void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width,
            float* out) const override;

 private:
  void MultiplyFew(KernelContext& c, int64_t m, const float* a, float* y, const float* bias,
                   UnaryFn map, const double* params) const;
  const WeightKernels& kernels() const {
    return WeightFunctions().formats[static_cast<int>(format_)];
  }
  WeightPanel panel(int64_t p) const;

  WeightFormat format_;
  int64_t k_, n_, group_;
  bool zeros_ = false;
  int64_t panel_bytes_ = 0;
  std::shared_ptr<Buffer> data_;
};

}  // namespace toolkit
