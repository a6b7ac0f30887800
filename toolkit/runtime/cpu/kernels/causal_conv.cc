// CausalConvWithState: each channel's row is joined to its past in scratch memory and convolved
// there. Parallel over rows.
#include <algorithm>

#include "core/kernel.h"
#include "simd/elementwise.h"
#include "simd/linear_attention.h"

namespace toolkit {
namespace {

class CausalConv : public Kernel {
 public:
  explicit CausalConv(const Attributes& a) {
    const std::string name = a.String("activation", "none");
    silu_ = name == "silu" || name == "swish";
    TK_REQUIRE(silu_ || name == "none", ErrorKind::kInvalidArgument,
               "activation must be none, silu or swish, got ", name);
  }
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &x = c.input(0), &w = c.input(1);
    const Tensor *bias = c.optional_input(2), *past = c.optional_input(3);
    Check(x, w, bias, past);
    const int64_t channels = x.dim(1), n = x.dim(2), k = w.dim(2), rows = x.dim(0) * channels;
    T* y = c.has_output(0) ? c.Output(0, x.dtype(), x.shape()).template data<T>() : nullptr;
    const Shape state = {x.dim(0), channels, k - 1};
    T* present = c.has_output(1) ? c.Output(1, x.dtype(), state).template data<T>() : nullptr;
    const bool wide = sizeof(T) == 4;
    const auto& fn = StateOf<T>();
    const UnaryFn swish =
        UnaryFunctions().fn[static_cast<int>(UnaryOp::kSwish)]
                           [static_cast<int>(wide ? Element::kF32 : Element::kF64)];
    const double alpha = 1;
    T* joined = c.Scratch<T>(rows * (n + k - 1));
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(n * k, 1));
    c.pool().ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        T* row = joined + r * (n + k - 1);
        if (past)
          std::copy_n(past->data<T>() + r * (k - 1), k - 1, row);
        else
          std::fill_n(row, k - 1, T(0));
        std::copy_n(x.data<T>() + r * n, n, row + k - 1);
        if (present) std::copy_n(row + n, k - 1, present + r * (k - 1));
        if (!y) continue;
        const int64_t channel = r % channels;
        fn.convolve(y + r * n, row, n, w.data<T>() + channel * k, k,
                    bias ? bias->data<T>()[channel] : T(0));
        if (silu_) swish(y + r * n, y + r * n, n, &alpha);
      }
    });
  }

  static void Check(const Tensor& x, const Tensor& w, const Tensor* bias, const Tensor* past) {
    TK_REQUIRE(
        x.rank() == 3 && w.rank() == 3 && w.dim(0) == x.dim(1) && w.dim(1) == 1 && w.dim(2) > 0,
        ErrorKind::kShape, "input (B, C, L) and weight (C, 1, k) are required, got ",
        x.shape().ToString(), " and ", w.shape().ToString());
    const Shape state = {x.dim(0), x.dim(1), w.dim(2) - 1};
    TK_REQUIRE(!bias || bias->shape() == Shape({x.dim(1)}), ErrorKind::kShape, "bias must be ",
               Shape({x.dim(1)}).ToString(), ", got ", bias->shape().ToString());
    TK_REQUIRE(!past || past->shape() == state, ErrorKind::kShape, "past_state must be ",
               state.ToString(), ", got ", past->shape().ToString());
    for (const Tensor* t : {&w, bias, past})
      TK_REQUIRE(!t || t->dtype() == x.dtype(), ErrorKind::kDType,
                 "all inputs must have the dtype of the first, ", Name(x.dtype()), ", got ",
                 Name(t->dtype()));
  }
  template <class T>
  static const StateFunctions<T>& StateOf() {
    if constexpr (sizeof(T) == 4)
      return StateSimd().f32;
    else
      return StateSimd().f64;
  }

  bool silu_;
};

static const bool kCausalConv = Register<CausalConv>("CausalConvWithState").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
