// The matrix exponential.
#include "kernels/linalg.h"

namespace toolkit {
namespace {

constexpr int kGroup = 4;  // Powers that are kept; the polynomial has degree kGroup * kGroup.

// Scaling and squaring with the Taylor polynomial of degree 16 on matrices of 1-norm at most 1/2,
// where its remainder is below 1e-19 (Higham 2005, 2008). Paterson and Stockmeyer (1973): powers to
// the 4th, then Horner's rule in the 4th power.
template <class T>
void Exponential(const T* x, int64_t n, T* y, T* memory) {
  const int64_t size = n * n;
  T *powers = memory, *sum = memory + kGroup * size;
  double norm = 0;
  for (int64_t j = 0; j < n; ++j) {
    double column = 0;
    for (int64_t i = 0; i < n; ++i) column += std::abs(static_cast<double>(x[i * n + j]));
    norm = std::max(norm, column);
    if (!std::isfinite(column))
      return std::fill_n(y, size, std::numeric_limits<T>::quiet_NaN()), void();
  }
  int squarings = 0;
  if (norm > 0.5) squarings = std::max(0, std::ilogb(norm) + 2);
  const T scale = static_cast<T>(std::ldexp(1.0, -squarings));
  for (int64_t i = 0; i < size; ++i) powers[i] = x[i] * scale;
  for (int p = 1; p < kGroup; ++p)
    Multiply(n, n, n, T(1), powers + (p - 1) * size, n, false, powers, n, false, T(0),
             powers + p * size, n);
  double inverse_factorials[kGroup * kGroup + 1] = {1};
  for (int p = 1; p <= kGroup * kGroup; ++p) inverse_factorials[p] = inverse_factorials[p - 1] / p;
  const auto add_group = [&](T* to, int first) {  // Terms `first` to `first` + 3, over x^first.
    for (int p = 1; p < kGroup; ++p)
      Loops<T>().axpy(static_cast<T>(inverse_factorials[first + p]), powers + (p - 1) * size, to,
                      size);
    for (int64_t i = 0; i < n; ++i) to[i * n + i] += static_cast<T>(inverse_factorials[first]);
  };
  const T* top = powers + (kGroup - 1) * size;
  for (int64_t i = 0; i < size; ++i)
    sum[i] = top[i] * static_cast<T>(inverse_factorials[kGroup * kGroup]);
  add_group(sum, kGroup * (kGroup - 1));
  for (int group = kGroup - 2; group >= 0; --group) {
    Multiply(n, n, n, T(1), sum, n, false, top, n, false, T(0), y, n);
    add_group(y, kGroup * group);
    std::copy_n(y, size, sum);
  }
  for (int s = 0; s < squarings; ++s) {
    Multiply(n, n, n, T(1), sum, n, false, sum, n, false, T(0), y, n);
    std::copy_n(y, size, sum);
  }
  std::copy_n(sum, size, y);
}

void MatrixExp(KernelContext& c) {
  const Tensor& x = c.input(0);
  const Matrices s = SquareMatrices(x);
  const int64_t size = s.rows * s.rows;
  Tensor& y = c.Output(0, x.dtype(), x.shape());
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForMatrices<T>(c, s.count, 10 * size * s.rows, (kGroup + 1) * size, [&](int64_t i, T* memory) {
      Exponential(x.data<T>() + i * size, s.rows, y.data<T>() + i * size, memory);
    });
  });
}

static const bool kMatrixExp = RegisterFn("MatrixExp", MatrixExp).Types(kFloats).Domain(kLinalg);

}  // namespace
}  // namespace toolkit
