// A constant right operand of integers with scales or of 16-bit floats, kept narrow; see
// simd/weights.h.
#pragma once

#include <memory>

#include "core/kernel.h"
#include "simd/elementwise.h"
#include "simd/weights.h"

namespace toolkit {

// Weights (K, N), or (N, K) if transposed; of integers how their scales are laid out: a number for
// all, one for each of N, or one for each block of K and each of N.
struct NarrowParts {
  const Tensor& codes;
  const Tensor* scale;  // Null: codes are floats.
  const Tensor* zero;   // Null: none.
  bool transposed;
  int64_t axis, block;  // As of DequantizeLinear; a block of 0: not blocked.
};

class NarrowWeights {
 public:
  explicit NarrowWeights(const NarrowParts& weights);

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  size_t bytes() const { return data_->bytes(); }
  bool zeros() const { return zeros_; }
  int64_t groups() const { return (k_ + group_ - 1) / group_; }

  // c = map(a W + bias), a of m rows. Few rows read the weights as they are, four at a time; more
  // unpack a block of a panel at a time, which stays in L1 under all the rows. Split over panels.
  void Multiply(KernelContext& c, int64_t m, const float* a, float* y, const float* bias,
                UnaryFn map, const double* params) const;

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
