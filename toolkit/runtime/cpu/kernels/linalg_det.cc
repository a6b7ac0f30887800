// Det and its gradient. A batch in parallel; a single large matrix through the parallel Gemm.
#include "kernels/linalg.h"

namespace toolkit {
namespace {

void Det(KernelContext& c) {
  const Tensor x = Widened(c, c.input(0));
  const Matrices s = SquareMatrices(x);
  const int64_t n = s.rows;
  WideOutput output(c, 0, c.input(0).dtype(), s.batch);
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* y = output.tensor().template data<T>();
    ForMatrices<T>(c, s.count, n * n * n, n * n, [&](int64_t i, T* a) {
      std::copy_n(x.data<T>() + i * n * n, n * n, a);
      int32_t info;
      T det = static_cast<T>(FactorLu(a, n, n, nullptr, &info));
      for (int64_t k = 0; k < n; ++k) det *= a[k * n + k];
      y[i] = det;
    });
  });
  output.Finish();
}

// The matrix of cofactors times dy. With rows and columns permuted so that P A Q = L U (complete
// pivoting), cofactors(A) is those of LU with the permutations undone, times their sign, and
// cofactors(LU) = inverse(L)^T cofactors(U). U of full rank: det(U) inverse(U)^T. Rank n - 1: the
// outer product of the null vectors, as the last column of adjugate(U) has them. Below: zero.
template <class T>
class Cofactors {
 public:
  Cofactors(T* memory, int64_t n) : n_(n), a_(memory), v_(memory + n * n), rows_(n), columns_(n) {}

  void Run(const T* x, T dy, T* y) {
    std::copy_n(x, n_ * n_, a_);
    Factor();
    // Row j of adjugate(U), times dy and the sign: only the last row is left when U is singular.
    T product = dy * static_cast<T>(sign_);
    for (int64_t k = 0; k + 1 < n_; ++k) product *= U(k, k);
    // cofactors[rows_[i], columns_[j]] = sum_k inverse(L)[k, i] cof(U)[k, j]: by columns j of
    // inverse(A) = Q inverse(U) inverse(L) P, scaled by the determinant.
    for (int64_t i = 0; i < n_; ++i) {
      // v = inverse(L) e_i.
      std::fill_n(v_, n_, T(0));
      v_[i] = T(1);
      for (int64_t k = i; k < n_; ++k)
        for (int64_t r = k + 1; r < n_; ++r) v_[r] -= a_[r * n_ + k] * v_[k];
      // v = adjugate(U) v.
      const T last = n_ ? U(n_ - 1, n_ - 1) : T(0);
      for (int64_t k = n_ - 1; k >= 0; --k) {
        // Solves U z = v with z scaled by the product of the first n - 1 pivots and the last one.
        T sum = k == n_ - 1 ? product * v_[k] : product * last * v_[k];
        for (int64_t j = k + 1; j < n_; ++j) sum -= U(k, j) * v_[j];
        if (k < n_ - 1) sum = U(k, k) == T(0) ? T(0) : sum / U(k, k);
        v_[k] = sum;
      }
      for (int64_t j = 0; j < n_; ++j) y[rows_[i] * n_ + columns_[j]] = v_[j];
    }
  }

 private:
  T U(int64_t i, int64_t j) const { return a_[i * n_ + j]; }

  void Factor() {
    sign_ = 1;
    for (int64_t k = 0; k < n_; ++k) rows_[k] = columns_[k] = k;
    for (int64_t k = 0; k < n_; ++k) {
      int64_t row = k, column = k;
      for (int64_t i = k; i < n_; ++i)
        for (int64_t j = k; j < n_; ++j)
          if (std::abs(U(i, j)) > std::abs(U(row, column))) row = i, column = j;
      if (row != k) {
        std::swap_ranges(a_ + k * n_, a_ + (k + 1) * n_, a_ + row * n_);
        std::swap(rows_[k], rows_[row]);
        sign_ = -sign_;
      }
      if (column != k) {
        for (int64_t i = 0; i < n_; ++i) std::swap(a_[i * n_ + k], a_[i * n_ + column]);
        std::swap(columns_[k], columns_[column]);
        sign_ = -sign_;
      }
      if (U(k, k) == T(0)) return;  // All that is left is zero.
      for (int64_t i = k + 1; i < n_; ++i) {
        const T factor = a_[i * n_ + k] /= U(k, k);
        for (int64_t j = k + 1; j < n_; ++j) a_[i * n_ + j] -= factor * U(k, j);
      }
    }
  }

  int64_t n_;
  T *a_, *v_;
  std::vector<int64_t> rows_, columns_;
  int sign_ = 1;
};

void DetGrad(KernelContext& c) {
  const Tensor &x = c.input(0), &dy = c.input(1);
  const Matrices s = SquareMatrices(x);
  const int64_t n = s.rows;
  TK_REQUIRE(dy.dtype() == x.dtype() && dy.shape() == s.batch, ErrorKind::kShape,
             "dy must have the batch shape of x ", x.shape().ToString(), " and its type, got ",
             Name(dy.dtype()), " ", dy.shape().ToString());
  Tensor& dx = c.Output(0, x.dtype(), x.shape());
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForMatrices<T>(c, s.count, n * n * n, n * n + n, [&](int64_t i, T* memory) {
      Cofactors<T>(memory, n).Run(x.data<T>() + i * n * n, dy.data<T>()[i],
                                  dx.data<T>() + i * n * n);
    });
  });
}

static const bool kDet =
    RegisterFn("Det", Det).Types(kAnyFloat) &&
    RegisterFn("DetGrad", DetGrad).Types(kFloats).Widen().Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
