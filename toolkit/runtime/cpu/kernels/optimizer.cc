// Optimizer steps of domain toolkit.optim, with the formulas of torch.optim. One pass, split by
// elements. Step size and bias corrections are computed in double.
#include "kernels/optimizer.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "simd/optimizer.h"

namespace toolkit {
namespace {

template <class T>
const OptimizerFunctions<T>& FunctionsOf() {
  if constexpr (sizeof(T) == 4)
    return Optimizers().f32;
  else
    return Optimizers().f64;
}

// (p, g, buf?, lr, step) -> p', buf'.
class SgdKernel : public Kernel {
 public:
  explicit SgdKernel(const Attributes& a)
      : step_{0,
              Decimal(a, "momentum", 0),
              Decimal(a, "dampening", 0),
              Decimal(a, "weight_decay", 0),
              a.Int("nesterov", 0) != 0,
              false} {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor p = c.input(0);
    SgdStep s = step_;
    s.lr = LearningRate(c.input(3));
    s.first = StepCount(c.input(4)) <= 1;
    const bool momentum = s.momentum != 0;
    const T* g = Like<T>(p, c.input(1), "the gradient");
    const T* buf = momentum ? Like<T>(p, c.input(2), "the momentum buffer") : nullptr;
    T* new_p = OutputLike<T>(c, 0, p);
    T* new_buf = nullptr;
    if (momentum)
      new_buf = c.has_output(1) ? OutputLike<T>(c, 1, p) : c.Scratch<T>(p.size());
    else if (c.has_output(1) && c.has_input(2))
      CopyTo(c, 1, c.input(2));
    c.pool().ParallelFor(p.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
      FunctionsOf<T>().sgd(new_p + begin, momentum ? new_buf + begin : nullptr, p.data<T>() + begin,
                           g + begin, momentum ? buf + begin : nullptr, end - begin, s);
    });
  }
  static void CopyTo(KernelContext& c, int i, const Tensor& from) {
    const Tensor source = from;
    const Tensor& to = c.Output(i, source.dtype(), source.shape());
    if (to.raw() != source.raw() && to.bytes()) std::memcpy(to.raw(), source.raw(), to.bytes());
  }
  SgdStep step_;
};

// (p, g, m, v, lr, step, vmax?) -> p', m', v', vmax'.
class AdamKernel : public Kernel {
 public:
  AdamKernel(const Attributes& a, bool decoupled)
      : beta1_(Decimal(a, "beta1", 0.9)),
        beta2_(Decimal(a, "beta2", 0.999)),
        epsilon_(Decimal(a, "epsilon", 1e-8)),
        weight_decay_(Decimal(a, "weight_decay", decoupled ? 0.01 : 0.0)),
        amsgrad_(a.Int("amsgrad", 0) != 0),
        decoupled_(decoupled) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 protected:
  AdamKernel(double beta1, double beta2, double epsilon, double weight_decay)
      : beta1_(beta1),
        beta2_(beta2),
        epsilon_(epsilon),
        weight_decay_(weight_decay),
        amsgrad_(false),
        decoupled_(true) {}
  virtual AdamStep Step(double lr, double t) const {
    AdamStep s;
    s.beta1 = beta1_;
    s.beta2 = beta2_;
    s.epsilon = epsilon_;
    s.weight_decay = decoupled_ ? 0 : weight_decay_;
    s.decay = decoupled_ ? 1 - lr * weight_decay_ : 1;
    s.step_size = lr / (1 - std::pow(beta1_, t));
    s.sqrt_correction = std::sqrt(1 - std::pow(beta2_, t));
    return s;
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor p = c.input(0);
    const double lr = LearningRate(c.input(4));
    const AdamStep s = Step(lr, static_cast<double>(StepCount(c.input(5))));
    const T* g = Like<T>(p, c.input(1), "the gradient");
    const T* m = Like<T>(p, c.input(2), "the first moment");
    const T* v = Like<T>(p, c.input(3), "the second moment");
    const T* vmax = amsgrad_ ? Like<T>(p, c.input(6), "the largest second moment") : nullptr;
    T* new_p = OutputLike<T>(c, 0, p);
    T* new_m = OutputLike<T>(c, 1, p);
    T* new_v = OutputLike<T>(c, 2, p);
    T* new_vmax = amsgrad_ ? OutputLike<T>(c, 3, p) : nullptr;
    c.pool().ParallelFor(p.size(), kMathGrain, [&](int64_t begin, int64_t end) {
      FunctionsOf<T>().adam(new_p + begin, new_m + begin, new_v + begin,
                            amsgrad_ ? new_vmax + begin : nullptr, p.data<T>() + begin, g + begin,
                            m + begin, v + begin, amsgrad_ ? vmax + begin : nullptr, end - begin,
                            s);
    });
  }
  double beta1_, beta2_, epsilon_, weight_decay_;
  bool amsgrad_, decoupled_;
};

// onnxruntime's AdamW. Mode 0 is torch's; in mode 1 the decay comes after the step and epsilon is
// not corrected: p' = (p - lr sqrt(c2) / c1 m / (sqrt(v) + epsilon)) (1 - lr weight_decay).
class AdamWOptimizerKernel : public AdamKernel {
 public:
  explicit AdamWOptimizerKernel(const Attributes& a)
      : AdamKernel(Decimal(a, "alpha", 0.9), Decimal(a, "beta", 0.999), Decimal(a, "epsilon", 1e-8),
                   Decimal(a, "weight_decay", 0.01)),
        after_(a.Int("adam_mode", 0) != 0),
        corrected_(a.Int("correct_bias", 1) != 0) {}

 protected:
  AdamStep Step(double lr, double t) const override {
    AdamStep s = AdamKernel::Step(lr, t);
    if (!corrected_) s.step_size = lr, s.sqrt_correction = 1;
    if (after_) {
      s.step_size *= s.sqrt_correction * s.decay;
      s.sqrt_correction = 1;
    }
    return s;
  }

 private:
  bool after_, corrected_;
};

Registration Adam(Registration&& registration) {
  return std::move(registration)
      .Domain("toolkit.optim")
      .Types(kFloats)
      .Widen({0, 2, 3, 6})
      .Inplace(0, 0)
      .Inplace(2, 1)
      .Inplace(3, 2)
      .Inplace(6, 3);
}
static const bool kOptimizers[] = {
    Register<SgdKernel>("SGD")
        .Domain("toolkit.optim")
        .Types(kFloats)
        .Widen({0, 2})
        .Inplace(0, 0)
        .Inplace(2, 1),
    Adam(Register<AdamKernel>("Adam", false)),
    Adam(Register<AdamKernel>("AdamW", true)),
    Adam(Register<AdamWOptimizerKernel>("AdamWOptimizer")),
};

}  // namespace
}  // namespace toolkit
