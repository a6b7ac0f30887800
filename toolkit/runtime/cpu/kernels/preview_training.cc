// Adagrad, Adam and Momentum of ai.onnx.preview.training: any number of tensors at once, each in
// one pass that is split by elements. Step sizes are computed in double.
#include <cmath>
#include <vector>

#include "kernels/elementwise.h"

namespace toolkit {
namespace {

constexpr const char* kPreviewDomain = "ai.onnx.preview.training";

double Rate(const Tensor& t) {
  TK_REQUIRE(t.size() == 1 && Contains(kFloats, t.dtype()), ErrorKind::kShape,
             "R must be a scalar of float32 or float64, got ", Name(t.dtype()),
             t.shape().ToString());
  return t.dtype() == DType::kDouble ? *t.data<double>() : static_cast<double>(*t.data<float>());
}
double Count(const Tensor& t) {
  TK_REQUIRE(t.size() == 1 && t.dtype() == DType::kInt64, ErrorKind::kDType,
             "T must be an int64 scalar, got ", Name(t.dtype()), t.shape().ToString());
  return static_cast<double>(*t.data<int64_t>());
}

// Inputs R, T, then `kParts` groups of n tensors: the parameters, their gradients, their states.
// Outputs: n new parameters, then their new states.
template <class Step>
class OptimizerKernel : public Kernel {
 public:
  explicit OptimizerKernel(const Attributes& a) : step_(a) {}
  void Run(KernelContext& c) const override {
    constexpr int kParts = Step::kStates + 2;
    const int given = c.num_inputs() - 2, n = given / kParts;
    TK_REQUIRE(n > 0 && given % kParts == 0, ErrorKind::kInvalidArgument, "R, T and a multiple of ",
               kParts, " tensors are required, got ", c.num_inputs(), " inputs");
    const Step step = step_.At(Rate(c.input(0)), Count(c.input(1)));
    for (int i = 0; i < n; ++i) {
      const Tensor x = c.input(2 + i);
      for (int part = 1; part < kParts; ++part) {
        const Tensor& t = c.input(2 + part * n + i);
        TK_REQUIRE(t.dtype() == x.dtype() && t.shape() == x.shape(), ErrorKind::kShape, "input ",
                   2 + part * n + i, " must be like tensor ", i, ", ", Name(x.dtype()),
                   x.shape().ToString(), ", got ", Name(t.dtype()), t.shape().ToString());
      }
      DispatchFloats(x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        const T* in[kParts];
        T* out[kParts - 1];
        for (int part = 0; part < kParts; ++part) in[part] = c.input(2 + part * n + i).data<T>();
        for (int part = 0; part + 1 < kParts; ++part) out[part] = Output<T>(c, part * n + i, x);
        c.pool().ParallelFor(x.size(), kMathGrain, [&](int64_t begin, int64_t end) {
          for (int64_t k = begin; k < end; ++k) step.Update(in, out, k);
        });
      });
    }
  }

 private:
  template <class T>
  static T* Output(KernelContext& c, int i, const Tensor& x) {
    if (!c.has_output(i)) return c.Scratch<T>(x.size());
    return c.Output(i, x.dtype(), x.shape()).template data<T>();
  }
  Step step_;
};

// r = R / (1 + T decay); g = G + norm X; H' = H + g^2; X' = X - r g / (sqrt(H') + epsilon).
struct Adagrad {
  static constexpr int kStates = 1;
  explicit Adagrad(const Attributes& a)
      : decay(a.Float("decay_factor", 0)),
        epsilon(a.Float("epsilon", 1e-6)),
        norm(a.Float("norm_coefficient", 0)) {}
  Adagrad At(double r, double t) const {
    Adagrad s = *this;
    s.rate = r / (1 + t * decay);
    return s;
  }
  template <class T>
  void Update(const T* const* in, T* const* out, int64_t k) const {
    const T x = in[0][k], g = static_cast<T>(norm) * x + in[1][k];
    const T h = in[2][k] + g * g;
    out[0][k] = x - static_cast<T>(rate) * g / (std::sqrt(h) + static_cast<T>(epsilon));
    out[1][k] = h;
  }
  double decay, epsilon, norm, rate = 0;
};

// g = G + norm X; V' = alpha V + (1 - alpha) g; H' = beta H + (1 - beta) g^2;
// r = R sqrt(1 - beta^T) / (1 - alpha^T), or R when T = 0;
// X' = (1 - norm_post) (X - r V' / (sqrt(H') + epsilon)).
struct Adam {
  static constexpr int kStates = 2;
  explicit Adam(const Attributes& a)
      : alpha(a.Float("alpha", 0.9)),
        beta(a.Float("beta", 0.999)),
        epsilon(a.Float("epsilon", 1e-6)),
        norm(a.Float("norm_coefficient", 0)),
        post(a.Float("norm_coefficient_post", 0)) {}
  Adam At(double r, double t) const {
    Adam s = *this;
    s.rate = t > 0 ? r * std::sqrt(1 - std::pow(beta, t)) / (1 - std::pow(alpha, t)) : r;
    return s;
  }
  template <class T>
  void Update(const T* const* in, T* const* out, int64_t k) const {
    const T x = in[0][k], g = static_cast<T>(norm) * x + in[1][k];
    const T v = static_cast<T>(alpha) * in[2][k] + static_cast<T>(1 - alpha) * g;
    const T h = static_cast<T>(beta) * in[3][k] + static_cast<T>(1 - beta) * g * g;
    const T next = x - static_cast<T>(rate) * v / (std::sqrt(h) + static_cast<T>(epsilon));
    out[0][k] = static_cast<T>(1 - post) * next;
    out[1][k] = v;
    out[2][k] = h;
  }
  double alpha, beta, epsilon, norm, post, rate = 0;
};

// g = G + norm X; V' = alpha V + (beta, or 1 when T = 0) g; X' = X - R V', or with Nesterov's
// momentum X - R (g + alpha V').
struct Momentum {
  static constexpr int kStates = 1;
  explicit Momentum(const Attributes& a)
      : alpha(a.Float("alpha", 0)), beta(a.Float("beta", 0)), norm(a.Float("norm_coefficient", 0)) {
    for (const char* name : {"alpha", "beta", "norm_coefficient", "mode"})
      TK_REQUIRE(a.Has(name), ErrorKind::kInvalidModel, "attribute '", name,
                 "' is required, got none");
    const std::string mode = a.String("mode", "");
    TK_REQUIRE(mode == "standard" || mode == "nesterov", ErrorKind::kInvalidArgument,
               "attribute 'mode' must be standard or nesterov, got '", mode, "'");
    nesterov = mode == "nesterov";
  }
  Momentum At(double r, double t) const {
    Momentum s = *this;
    s.rate = r;
    s.beta = t > 0 ? beta : 1;
    return s;
  }
  template <class T>
  void Update(const T* const* in, T* const* out, int64_t k) const {
    const T x = in[0][k], g = static_cast<T>(norm) * x + in[1][k];
    const T v = static_cast<T>(alpha) * in[2][k] + static_cast<T>(beta) * g;
    out[0][k] = x - static_cast<T>(rate) * (nesterov ? g + static_cast<T>(alpha) * v : v);
    out[1][k] = v;
  }
  double alpha, beta, norm, rate = 0;
  bool nesterov = false;
};

template <class Step>
Registration Optimizer(const char* op_type) {
  return Register<OptimizerKernel<Step>>(op_type).Domain(kPreviewDomain).Types(kFloats);
}
static const bool kPreview[] = {
    Optimizer<Adagrad>("Adagrad"),
    Optimizer<Adam>("Adam"),
    Optimizer<Momentum>("Momentum"),
};

}  // namespace
}  // namespace toolkit
