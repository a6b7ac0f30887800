// Optimizer steps whose states are like the parameter, and scalars beside them. Inputs (p, g, lr,
// step, states...), outputs (p', states'...). One pass, split by elements; what follows from rate
// and step count is computed in double.
#include "simd/optimizer_pointwise.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/optimizer.h"

namespace toolkit {
namespace {

constexpr int kFirstState = 4, kMostStates = 3;

template <class T>
const PointwiseFunctions<T>& FunctionsOf() {
  if constexpr (sizeof(T) == 4)
    return PointwiseUpdates().f32;
  else
    return PointwiseUpdates().f64;
}

// A subclass gives the numbers of a step and picks the function; its states are `states` tensors
// like the parameter, then scalars that `Step` reads and writes.
class PointwiseKernel : public Kernel {
 public:
  explicit PointwiseKernel(const Attributes& a) : weight_decay_(Decimal(a, "weight_decay", 0)) {}
  void Run(KernelContext& c) const override {
    const PointwiseStep s =
        Step(c, LearningRate(c.input(2)), static_cast<double>(StepCount(c.input(3))));
    DispatchFloats(c.input(0).dtype(),
                   [&](auto tag) { RunAs<typename decltype(tag)::type>(c, s); });
  }

 protected:
  virtual PointwiseStep Step(KernelContext& c, double lr, double t) const = 0;
  virtual PointwiseFunction<float> F32() const = 0;
  virtual PointwiseFunction<double> F64() const = 0;
  virtual int States() const = 0;

  PointwiseStep WithDecay(double lr, bool decoupled) const {
    PointwiseStep s;
    (decoupled ? s.decay : s.weight_decay) = decoupled ? 1 - lr * weight_decay_ : weight_decay_;
    return s;
  }
  static double Scalar(KernelContext& c, int state, const char* name) {
    return FloatScalar(c.input(kFirstState + state), name);
  }
  static void SetScalar(KernelContext& c, int state, double value) {
    if (!c.has_output(1 + state)) return;
    const Tensor old = c.input(kFirstState + state);
    const Tensor& out = c.Output(1 + state, old.dtype(), old.shape());
    if (old.dtype() == DType::kDouble)
      *out.data<double>() = value;
    else
      *out.data<float>() = static_cast<float>(value);
  }
  double weight_decay_;

 private:
  template <class T>
  void RunAs(KernelContext& c, const PointwiseStep& s) const {
    const int states = States();
    const Tensor p = c.input(0);
    const T* x[2 + kMostStates] = {p.data<T>(), Like<T>(p, c.input(1), "the gradient")};
    T* y[1 + kMostStates] = {};
    for (int i = 0; i < states; ++i) x[2 + i] = Like<T>(p, c.input(kFirstState + i), "each state");
    for (int i = 0; i <= states; ++i)
      y[i] = c.has_output(i) ? OutputLike<T>(c, i, p) : c.Scratch<T>(p.size());
    PointwiseFunction<T> update;
    if constexpr (sizeof(T) == 4)
      update = F32();
    else
      update = F64();
    c.pool().ParallelFor(p.size(), kMathGrain, [&](int64_t begin, int64_t end) {
      const T* from[2 + kMostStates] = {};
      T* to[1 + kMostStates] = {};
      for (int i = 0; i < 2 + states; ++i) from[i] = x[i] + begin;
      for (int i = 0; i < 1 + states; ++i) to[i] = y[i] + begin;
      update(to, from, end - begin, s);
    });
  }
};

#define TK_POINTWISE(name, states)                                                      \
  PointwiseFunction<float> F32() const override { return FunctionsOf<float>().name; }   \
  PointwiseFunction<double> F64() const override { return FunctionsOf<double>().name; } \
  int States() const override { return states; }

// States m, v and the product of the momenta mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2).
class NAdamKernel : public PointwiseKernel {
 public:
  explicit NAdamKernel(const Attributes& a)
      : PointwiseKernel(a),
        beta1_(Decimal(a, "beta1", 0.9)),
        beta2_(Decimal(a, "beta2", 0.999)),
        epsilon_(Decimal(a, "epsilon", 1e-8)),
        momentum_decay_(Decimal(a, "momentum_decay", 4e-3)),
        decoupled_(a.Int("decoupled_weight_decay", 0) != 0) {}

 private:
  TK_POINTWISE(nadam, 2)
  double Momentum(double t) const {
    return beta1_ * (1 - 0.5 * std::pow(0.96, t * momentum_decay_));
  }
  PointwiseStep Step(KernelContext& c, double lr, double t) const override {
    PointwiseStep s = WithDecay(lr, decoupled_);
    const double now = Momentum(t), next = Momentum(t + 1);
    double product = Scalar(c, 2, "the product of the momenta");
    // In float32 as torch holds it, else the two drift apart.
    product = c.input(kFirstState + 2).dtype() == DType::kDouble
                  ? product * now
                  : static_cast<float>(product) * static_cast<float>(now);
    SetScalar(c, 2, product);
    s.beta1 = beta1_, s.beta2 = beta2_, s.epsilon = epsilon_;
    s.grad_size = lr * (1 - now) / (1 - product);
    s.step_size = lr * next / (1 - product * next);
    s.scale = 1 / std::sqrt(1 - std::pow(beta2_, t));
    return s;
  }
  double beta1_, beta2_, epsilon_, momentum_decay_;
  bool decoupled_;
};

// States m, v. Rectified once the length rho of the average is above 5 (Liu et al., 2020).
class RAdamKernel : public PointwiseKernel {
 public:
  explicit RAdamKernel(const Attributes& a)
      : PointwiseKernel(a),
        beta1_(Decimal(a, "beta1", 0.9)),
        beta2_(Decimal(a, "beta2", 0.999)),
        epsilon_(Decimal(a, "epsilon", 1e-8)),
        decoupled_(a.Int("decoupled_weight_decay", 0) != 0) {}

 private:
  TK_POINTWISE(radam, 2)
  PointwiseStep Step(KernelContext&, double lr, double t) const override {
    PointwiseStep s = WithDecay(lr, decoupled_);
    s.beta1 = beta1_, s.beta2 = beta2_, s.epsilon = epsilon_;
    s.step_size = lr / (1 - std::pow(beta1_, t));
    const double last = 2 / (1 - beta2_) - 1, power = std::pow(beta2_, t);
    const double rho = last - 2 * t * power / (1 - power);
    s.plain = !(rho > 5);
    if (!s.plain) {
      const double rect = std::sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho));
      s.step_size *= rect * std::sqrt(1 - power);
    }
    return s;
  }
  double beta1_, beta2_, epsilon_;
  bool decoupled_;
};

// States m, u.
class AdamaxKernel : public PointwiseKernel {
 public:
  explicit AdamaxKernel(const Attributes& a)
      : PointwiseKernel(a),
        beta1_(Decimal(a, "beta1", 0.9)),
        beta2_(Decimal(a, "beta2", 0.999)),
        epsilon_(Decimal(a, "epsilon", 1e-8)) {}

 private:
  TK_POINTWISE(adamax, 2)
  PointwiseStep Step(KernelContext&, double lr, double t) const override {
    PointwiseStep s = WithDecay(lr, false);
    s.beta1 = beta1_, s.beta2 = beta2_, s.epsilon = epsilon_;
    s.step_size = lr / (1 - std::pow(beta1_, t));
    return s;
  }
  double beta1_, beta2_, epsilon_;
};

// State: the sum of squares.
class AdagradKernel : public PointwiseKernel {
 public:
  explicit AdagradKernel(const Attributes& a)
      : PointwiseKernel(a),
        lr_decay_(Decimal(a, "lr_decay", 0)),
        epsilon_(Decimal(a, "epsilon", 1e-10)) {}

 private:
  TK_POINTWISE(adagrad, 1)
  PointwiseStep Step(KernelContext&, double lr, double t) const override {
    PointwiseStep s = WithDecay(lr, false);
    s.epsilon = epsilon_;
    s.step_size = lr / (1 + (t - 1) * lr_decay_);
    return s;
  }
  double lr_decay_, epsilon_;
};

// States: averages of squares, of gradients and of steps.
class AdadeltaKernel : public PointwiseKernel {
 public:
  explicit AdadeltaKernel(const Attributes& a)
      : PointwiseKernel(a), rho_(Decimal(a, "rho", 0.9)), epsilon_(Decimal(a, "epsilon", 1e-6)) {}

 private:
  TK_POINTWISE(adadelta, 2)
  PointwiseStep Step(KernelContext&, double lr, double) const override {
    PointwiseStep s = WithDecay(lr, false);
    s.beta2 = rho_, s.epsilon = epsilon_, s.step_size = lr;
    return s;
  }
  double rho_, epsilon_;
};

// States: the average of squares; with momentum a buffer; if centered the average of gradients.
class RmsPropKernel : public PointwiseKernel {
 public:
  explicit RmsPropKernel(const Attributes& a)
      : PointwiseKernel(a),
        alpha_(Decimal(a, "alpha", 0.99)),
        epsilon_(Decimal(a, "epsilon", 1e-8)),
        momentum_(Decimal(a, "momentum", 0)),
        centered_(a.Int("centered", 0) != 0) {}

 private:
  TK_POINTWISE(rmsprop[(momentum_ > 0) + 2 * centered_], 1 + (momentum_ > 0) + centered_)
  PointwiseStep Step(KernelContext&, double lr, double) const override {
    PointwiseStep s = WithDecay(lr, false);
    s.beta1 = momentum_, s.beta2 = alpha_, s.epsilon = epsilon_, s.step_size = lr;
    return s;
  }
  double alpha_, epsilon_, momentum_;
  bool centered_;
};

// States: the gradient before, the step sizes.
class RpropKernel : public PointwiseKernel {
 public:
  explicit RpropKernel(const Attributes& a)
      : PointwiseKernel(a),
        minus_(Decimal(a, "eta_minus", 0.5)),
        plus_(Decimal(a, "eta_plus", 1.2)),
        low_(Decimal(a, "step_size_min", 1e-6)),
        high_(Decimal(a, "step_size_max", 50)) {}

 private:
  TK_POINTWISE(rprop, 2)
  PointwiseStep Step(KernelContext&, double, double) const override {
    PointwiseStep s;
    s.beta1 = minus_, s.beta2 = plus_, s.low = low_, s.high = high_;
    return s;
  }
  double minus_, plus_, low_, high_;
};

// States: the averaged parameter, then the scalars eta and mu of the next step.
class AsgdKernel : public PointwiseKernel {
 public:
  explicit AsgdKernel(const Attributes& a)
      : PointwiseKernel(a),
        lambda_(Decimal(a, "lambd", 1e-4)),
        alpha_(Decimal(a, "alpha", 0.75)),
        start_(Decimal(a, "t0", 1e6)) {}

 private:
  TK_POINTWISE(asgd, 1)
  PointwiseStep Step(KernelContext& c, double lr, double t) const override {
    PointwiseStep s = WithDecay(lr, false);
    const double eta = Scalar(c, 1, "eta"), mu = Scalar(c, 2, "mu");
    s.decay = 1 - lambda_ * eta, s.step_size = eta, s.scale = mu, s.plain = mu == 1;
    SetScalar(c, 1, lr / std::pow(1 + lambda_ * lr * t, alpha_));
    SetScalar(c, 2, 1 / std::max(1.0, t - start_));
    return s;
  }
  double lambda_, alpha_, start_;
};

// State: the average m.
class LionKernel : public PointwiseKernel {
 public:
  explicit LionKernel(const Attributes& a)
      : PointwiseKernel(a), beta1_(Decimal(a, "beta1", 0.9)), beta2_(Decimal(a, "beta2", 0.99)) {}

 private:
  TK_POINTWISE(lion, 1)
  PointwiseStep Step(KernelContext&, double lr, double) const override {
    PointwiseStep s = WithDecay(lr, true);
    s.beta1 = beta1_, s.beta2 = beta2_, s.step_size = lr;
    return s;
  }
  double beta1_, beta2_;
};

#undef TK_POINTWISE

Registration Pointwise(Registration&& registration) {
  return std::move(registration)
      .Domain("toolkit.optim")
      .Types(kFloats)
      .Widen({0, 4, 5, 6})
      .Inplace(0, 0)
      .Inplace(4, 1)
      .Inplace(5, 2)
      .Inplace(6, 3);
}
static const bool kOptimizers[] = {
    Pointwise(Register<NAdamKernel>("NAdam")),       Pointwise(Register<RAdamKernel>("RAdam")),
    Pointwise(Register<AdamaxKernel>("Adamax")),     Pointwise(Register<AdagradKernel>("Adagrad")),
    Pointwise(Register<AdadeltaKernel>("Adadelta")), Pointwise(Register<RmsPropKernel>("RMSprop")),
    Pointwise(Register<RpropKernel>("Rprop")),       Pointwise(Register<AsgdKernel>("ASGD")),
    Pointwise(Register<LionKernel>("Lion")),
};

}  // namespace
}  // namespace toolkit
