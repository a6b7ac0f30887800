// Cholesky factorisation.
#include "kernels/linalg.h"

namespace toolkit {
namespace {

constexpr int64_t kBlock = 64;  // Columns that are factored before the rest is updated.

// The lower triangle in place; the order of the first minor that is not positive definite, or 0.
// Right-looking by blocks: diagonal block, panel below it, Gemm on the lower triangle of the rest.
template <class T>
int32_t FactorCholesky(T* a, int64_t n) {
  const LinalgFns<T>& loops = Loops<T>();
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = std::min(n, first + kBlock);
    for (int64_t i = first; i < n; ++i) {
      T* row = a + i * n;
      for (int64_t j = first; j < std::min(i + 1, last); ++j) {
        const T sum = row[j] - loops.dot(row + first, a + j * n + first, j - first);
        if (j < i) {
          row[j] = sum / a[j * n + j];
        } else {
          if (!(sum > T(0))) return static_cast<int32_t>(j + 1);
          row[j] = std::sqrt(sum);
        }
      }
    }
    for (int64_t j = last; j < n; j += kBlock) {
      const int64_t width = std::min(kBlock, n - j);
      Multiply(n - j, width, last - first, T(-1), a + j * n + first, n, false, a + j * n + first, n,
               true, T(1), a + j * n + j, n);
    }
  }
  return 0;
}

class Cholesky : public Kernel {
 public:
  explicit Cholesky(const Attributes& a) : upper_(a.Int("upper", 0) != 0) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Matrices s = SquareMatrices(x);
    const int64_t n = s.rows;
    Tensor& y = c.Output(0, x.dtype(), x.shape());
    Tensor& info = c.Output(1, DType::kInt32, s.batch);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForMatrices<T>(c, s.count, n * n * n / 3, upper_ ? n * n : 0, [&](int64_t i, T* scratch) {
        T* to = y.data<T>() + i * n * n;
        const T* from = x.data<T>() + i * n * n;
        T* a = upper_ ? scratch : to;
        for (int64_t r = 0; r < n; ++r)
          for (int64_t k = 0; k < n; ++k)
            a[r * n + k] = k > r ? T(0) : from[upper_ ? k * n + r : r * n + k];
        info.data<int32_t>()[i] = FactorCholesky(a, n);
        for (int64_t r = 0; r < n; ++r) std::fill(a + r * n + r + 1, a + (r + 1) * n, T(0));
        if (upper_) TransposeMatrix(a, n, n, to);
      });
    });
  }

 private:
  bool upper_;
};

static const bool kCholesky = Register<Cholesky>("Cholesky").Types(kFloats).Domain(kLinalg);

}  // namespace
}  // namespace toolkit
