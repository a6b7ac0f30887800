// What the kernels of linear algebra share. Matrices are row-major, `ld` elements from row to row;
// a tensor (..., rows, columns) is a batch of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/gemm.h"
#include "kernels/half.h"
#include "simd/linalg.h"

namespace toolkit {

constexpr const char* kLinalg = "toolkit.linalg";

template <class T>
const LinalgFns<T>& Loops() {
  if constexpr (std::is_same_v<T, float>)
    return LinalgLoops().f32;
  else
    return LinalgLoops().f64;
}

struct Matrices {
  explicit Matrices(const Tensor& x);  // Fails unless x has two dimensions or more.
  // The batch's shape with other last dimensions.
  Shape With(std::initializer_list<int64_t> last) const;

  Shape batch;
  int64_t count, rows, columns;
};

// As Matrices; fails unless they are square.
Matrices SquareMatrices(const Tensor& x);
void RequireType(const Tensor& x, const Tensor& like, const char* what);

// Calls fn(i, scratch elements) for each of `count` matrices of `work` multiplications: the batch
// in parallel, or where it is small one after the other, each by parallel loops.
template <class T, class Fn>
void ForMatrices(KernelContext& c, int64_t count, int64_t work, int64_t scratch, Fn fn) {
  const auto range = [&](int64_t begin, int64_t end) {
    std::vector<T> memory(static_cast<size_t>(scratch));
    for (int64_t i = begin; i < end; ++i) fn(i, memory.data());
  };
  if (count < 2 * c.pool().num_threads()) return range(0, count);
  c.pool().ParallelFor(count, 1 + 32768 / (work + 1), range);
}

// c = alpha op(a) op(b) + beta c, (m, n) with k products each.
template <class T>
void Multiply(int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda, bool trans_a,
              const T* b, int64_t ldb, bool trans_b, T beta, T* c, int64_t ldc) {
  GemmArgs<T> g = {m, n, k};
  g.a = a, g.lda = lda, g.trans_a = trans_a;
  g.b = b, g.ldb = ldb, g.trans_b = trans_b;
  g.c = c, g.ldc = ldc, g.alpha = alpha, g.beta = beta;
  if (m > 0 && n > 0) Gemm(g);
}

// Factors an m x n matrix in place into P L U with partial pivoting (right-looking, by blocks of
// columns). pivots[k], if wanted, is the row from 0 that row k was swapped with. Gives the sign of
// the permutation; `info` becomes the first column from 1 without a pivot, or 0.
template <class T>
int FactorLu(T* a, int64_t m, int64_t n, int32_t* pivots, int32_t* info);

// Solves op(A) X = B in place of B (n x r), A triangular of n rows: `upper` says which triangle is
// read, `unit` that its diagonal is taken as ones, `trans` that op transposes.
template <class T>
void SolveTriangular(const T* a, int64_t lda, int64_t n, bool upper, bool unit, bool trans, T* b,
                     int64_t ldb, int64_t r);

// Factors an m x n matrix in place into Q R: R in the upper triangle, below it the Householder
// vectors without their leading 1, with factors `tau` (min(m, n)); signs are LAPACK's.
template <class T>
void FactorQr(T* a, int64_t m, int64_t n, int64_t lda, T* tau);

// The first `columns` columns of the product of k such reflections of length m, into q.
template <class T>
void FormQ(const T* a, int64_t lda, const T* tau, int64_t m, int64_t k, int64_t columns, T* q);

// x (n x n) becomes its eigenvectors as rows, w its eigenvalues, ascending. `vectors` false: x is
// only used up. Gives false if the iteration did not converge.
template <class T>
bool SymmetricEigen(T* x, int64_t n, T* w, bool vectors);

// Reverses the sign of a row whose element of largest magnitude is negative; gives whether it did.
template <class T>
bool FixSign(T* x, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i)
    if (std::abs(x[i]) > std::abs(x[best])) best = i;
  if (n == 0 || !(x[best] < T(0))) return false;
  for (int64_t i = 0; i < n; ++i) x[i] = -x[i];
  return true;
}

// y (columns x rows) = x (rows x columns) transposed.
template <class T>
void TransposeMatrix(const T* x, int64_t rows, int64_t columns, T* y) {
  for (int64_t i = 0; i < rows; i += 32)
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t k = i; k < std::min(rows, i + 32); ++k) y[j * rows + k] = x[k * columns + j];
}

}  // namespace toolkit
