// HannWindow, HammingWindow and BlackmanWindow, computed in double whatever the type of the result.
#include <cmath>

#include "kernels/half.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

// y[k] = c0 + c1 cos(2 pi k / n) + c2 cos(4 pi k / n): n is `size` when periodic, else size - 1.
class Window : public Kernel {
 public:
  Window(const Attributes& a, double c0, double c1, double c2)
      : dtype_(static_cast<DType>(a.Int("output_datatype", 1))),
        periodic_(a.Int("periodic", 1) != 0),
        c0_(c0),
        c1_(c1),
        c2_(c2) {
    TK_REQUIRE(Contains(kAnyNumber, dtype_), ErrorKind::kDType,
               "attribute output_datatype must be a type of numbers, got ",
               a.Int("output_datatype", 1));
  }

  void Run(KernelContext& c) const override {
    const int64_t size = ReadInt(c.input(0), "size");
    TK_REQUIRE(size >= 0, ErrorKind::kInvalidArgument, "size must not be negative, got ", size);
    Tensor& y = c.Output(0, dtype_, {size});
    constexpr double kPi = 3.14159265358979323846;
    const double step = 2 * kPi / static_cast<double>(periodic_ ? size : size - 1);
    DispatchAnyNumber(dtype_, [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* out = y.data<T>();
      if (size == 1) {
        *out = static_cast<T>(1.0f);
        return;
      }
      c.pool().ParallelFor(size, kSlowGrain, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          const double angle = step * static_cast<double>(k);
          const double v = c0_ + c1_ * std::cos(angle) + c2_ * std::cos(2 * angle);
          out[k] = static_cast<T>(static_cast<std::conditional_t<kIsHalf<T>, float, double>>(v));
        }
      });
    });
  }

 private:
  DType dtype_;
  bool periodic_;
  double c0_, c1_, c2_;
};

constexpr DTypeSet kSizes = Bit(DType::kInt32) | Bit(DType::kInt64);
static const bool kWindows =
    Register<Window>("HannWindow", 0.5, -0.5, 0.0).Types(kSizes) &&
    Register<Window>("HammingWindow", 25.0 / 46, -21.0 / 46, 0.0).Types(kSizes) &&
    Register<Window>("BlackmanWindow", 0.42, -0.5, 0.08).Types(kSizes);

}  // namespace
}  // namespace toolkit
