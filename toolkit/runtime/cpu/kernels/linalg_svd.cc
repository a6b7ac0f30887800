// Singular values: QR, then one-sided Jacobi on the rows of R (Hestenes 1958; Drmac and Veselic
// 2008), pairs in round-robin order so that those of a round are independent.
#include "kernels/linalg.h"

namespace toolkit {
namespace {

constexpr int kSweeps = 40;  // Six to ten are usual.

// Makes the n rows of w (m elements each) orthogonal by rotations, which rows of y take too (null:
// none). Gives false if it did not converge.
template <class T>
bool OrthogonaliseRows(T* w, int64_t n, int64_t m, T* y, int64_t width) {
  const LinalgFns<T>& loops = Loops<T>();
  const int64_t players = n + n % 2;  // One of an odd number sits out.
  const T tolerance = std::numeric_limits<T>::epsilon() * 4;
  std::vector<T> squares(static_cast<size_t>(n));
  std::vector<char> turned(static_cast<size_t>(players / 2));
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    T largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      squares[i] = loops.dot(w + i * m, w + i * m, m);
      largest = std::max(largest, squares[i]);
    }
    if (!std::isfinite(largest)) return false;
    // Rows below rounding of the largest are zeros of a rank-deficient matrix.
    const T none = largest * tolerance * tolerance / 16;
    std::fill(turned.begin(), turned.end(), 0);
    for (int64_t round = 0; round < players - 1; ++round) {
      const auto pairs = [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          // The circle method: the last player stays, the others move on.
          int64_t i = k == 0 ? players - 1 : (round + k) % (players - 1);
          int64_t j = (round + players - 1 - k) % (players - 1);
          if (i > j) std::swap(i, j);
          if (j >= n) continue;
          T *a = w + i * m, *b = w + j * m;
          const T product = loops.dot(a, b, m);
          const T p = squares[i], q = squares[j];
          if (q <= none && p <= none) continue;
          if (!(std::abs(product) > tolerance * std::sqrt(p) * std::sqrt(q))) continue;
          if (std::min(p, q) <= none && std::abs(product) <= none) continue;
          turned[k] = 1;
          const T zeta = (q - p) / (2 * product);
          const T t = std::copysign(T(1), zeta) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
          const T c = 1 / std::sqrt(1 + t * t), s = c * t;
          loops.rotate(a, b, m, c, -s);
          if (y) loops.rotate(y + i * width, y + j * width, width, c, -s);
          squares[i] = std::max(T(0), p - t * product);
          squares[j] = q + t * product;
        }
      };
      if (n * m < 1 << 14)
        pairs(0, players / 2);
      else
        ThreadPool::Global().ParallelFor(players / 2, std::max<int64_t>(1, 8192 / m), pairs);
    }
    if (std::none_of(turned.begin(), turned.end(), [](char t) { return t; })) return true;
  }
  return false;
}

// Completes the orthonormal rows of `x` (k x n, zero rows count as missing) to `rows` rows: QR of
// the transposed matrix, with the signs of those that were there.
template <class T>
void CompleteRows(const T* x, int64_t k, int64_t n, int64_t rows, T* out) {
  std::vector<T> memory(static_cast<size_t>(n * k + k + n * rows));
  T *a = memory.data(), *tau = a + n * k, *q = tau + k;
  TransposeMatrix(x, k, n, a);
  FactorQr(a, n, k, k, tau);
  FormQ(a, k, tau, n, k, rows, q);
  TransposeMatrix(q, n, rows, out);
  for (int64_t i = 0; i < k; ++i)
    if (a[i * k + i] < T(0))
      for (int64_t j = 0; j < n; ++j) out[i * n + j] = -out[i * n + j];
}

// One matrix of m >= n: rows of `ut` (n or m rows of m) and `vt` (n rows of n), singular values
// descending. Null ut, vt: values only.
template <class T>
class SingularValues {
 public:
  SingularValues(int64_t m, int64_t n) : m_(m), n_(n) {}

  bool Run(T* a, T* sigma, T* ut, int64_t ut_rows, T* vt) {
    const T scale = Normalise(a);
    std::vector<T> tau(static_cast<size_t>(n_)), w(static_cast<size_t>(n_ * n_));
    FactorQr(a, m_, n_, n_, tau.data());
    for (int64_t i = 0; i < n_; ++i)
      for (int64_t j = 0; j < n_; ++j) w[i * n_ + j] = j < i ? T(0) : a[i * n_ + j];
    std::vector<T> y;
    if (ut) {
      y.assign(static_cast<size_t>(n_ * n_), T(0));
      for (int64_t i = 0; i < n_; ++i) y[i * n_ + i] = T(1);
    }
    const bool converged = OrthogonaliseRows(w.data(), n_, n_, ut ? y.data() : nullptr, n_);
    Sort(w.data(), sigma);
    if (ut) Vectors(a, tau.data(), w.data(), y.data(), sigma, ut, ut_rows, vt);
    for (int64_t i = 0; i < n_; ++i) sigma[i] *= scale;
    return converged;
  }

 private:
  // Divides by the largest magnitude, so that no square overflows.
  T Normalise(T* a) {
    T largest = 0;
    for (int64_t i = 0; i < m_ * n_; ++i) largest = std::max(largest, std::abs(a[i]));
    if (!(largest > T(0)) || !std::isfinite(largest)) return T(1);
    for (int64_t i = 0; i < m_ * n_; ++i) a[i] /= largest;
    return largest;
  }

  void Sort(const T* w, T* sigma) {
    std::vector<T> norms(static_cast<size_t>(n_));
    for (int64_t i = 0; i < n_; ++i) {
      norms[i] = std::sqrt(Loops<T>().dot(w + i * n_, w + i * n_, n_));
      order_.push_back(i);
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t a, int64_t b) { return norms[a] > norms[b]; });
    for (int64_t i = 0; i < n_; ++i) sigma[i] = norms[order_[i]];
  }

  // R = Y^T (Sigma X^T): rows of w over sigma are those of V^T, Q Y^T has the columns of U.
  void Vectors(const T* a, const T* tau, const T* w, const T* y, const T* sigma, T* ut,
               int64_t ut_rows, T* vt) {
    std::vector<T> memory(static_cast<size_t>(n_ * n_ + m_ * n_ + 2 * m_ * n_));
    T *v = memory.data(), *q = v + n_ * n_, *u = q + m_ * n_, *sorted = u + m_ * n_;
    const T least = n_ ? sigma[0] * std::numeric_limits<T>::epsilon() / 2 : T(0);
    bool full = true;
    for (int64_t i = 0; i < n_; ++i) {
      const T* from = w + order_[i] * n_;
      const bool zero = !(sigma[i] > least);
      full &= !zero;
      for (int64_t j = 0; j < n_; ++j) v[i * n_ + j] = zero ? T(0) : from[j] / sigma[i];
    }
    if (full)
      std::copy_n(v, n_ * n_, vt);
    else
      CompleteRows(v, n_, n_, n_, vt);
    FormQ(a, n_, tau, m_, n_, n_, q);
    for (int64_t i = 0; i < n_; ++i) std::copy_n(y + order_[i] * n_, n_, sorted + i * n_);
    Multiply(n_, m_, n_, T(1), sorted, n_, false, q, n_, true, T(0), u, m_);
    for (int64_t i = 0; i < n_; ++i)
      if (FixSign(u + i * m_, m_))
        for (int64_t j = 0; j < n_; ++j) vt[i * n_ + j] = -vt[i * n_ + j];
    if (ut_rows == n_)
      std::copy_n(u, n_ * m_, ut);
    else
      CompleteRows(u, n_, m_, ut_rows, ut);
  }

  int64_t m_, n_;
  std::vector<int64_t> order_;
};

// U, S, Vh: reduced (k columns of U, rows of Vh), full (square), or values only (U and Vh without
// elements). In a column of the longer side of U and V the element of largest magnitude is
// positive (U's where they are equal). NaN where the matrix is not finite.
class Svd : public Kernel {
 public:
  explicit Svd(const Attributes& a)
      : full_(a.Int("full_matrices", 0) != 0), vectors_(a.Int("vectors", 1) != 0) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Matrices s(x);
    const int64_t rows = s.rows, columns = s.columns, k = std::min(rows, columns);
    const bool wide = rows < columns;
    const int64_t m = wide ? columns : rows;
    const int64_t long_rows = full_ ? m : k;
    const Shape none{0};
    Tensor& u = c.Output(0, x.dtype(), vectors_ ? s.With({rows, full_ ? rows : k}) : none);
    Tensor& sigma = c.Output(1, x.dtype(), s.With({k}));
    Tensor& vh = c.Output(2, x.dtype(), vectors_ ? s.With({full_ ? columns : k, columns}) : none);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t scratch = m * k + m * long_rows + k * k;
      ForMatrices<T>(c, s.count, 20 * m * k * k, scratch, [&](int64_t i, T* a) {
        T *longer = a + m * k, *shorter = longer + m * long_rows;
        const T* from = x.data<T>() + i * rows * columns;
        T* values = sigma.data<T>() + i * k;
        if (wide)
          TransposeMatrix(from, rows, columns, a);
        else
          std::copy_n(from, m * k, a);
        T* to_u = vectors_ ? u.data<T>() + i * rows * (full_ ? rows : k) : nullptr;
        T* to_v = vectors_ ? vh.data<T>() + i * (full_ ? columns : k) * columns : nullptr;
        SingularValues<T> run(m, k);
        const bool converged = run.Run(a, values, vectors_ ? longer : nullptr, long_rows, shorter);
        if (!converged && k > 0) std::fill_n(values, k, std::numeric_limits<T>::quiet_NaN());
        if (!vectors_) return;
        // The rows of `longer` are U's columns, or Vh's rows.
        if (wide) {
          std::copy_n(longer, long_rows * m, to_v);
          TransposeMatrix(shorter, k, k, to_u);
        } else {
          TransposeMatrix(longer, long_rows, m, to_u);
          std::copy_n(shorter, k * k, to_v);
        }
      });
    });
  }

 private:
  bool full_, vectors_;
};

static const bool kSvd = Register<Svd>("Svd").Types(kFloats).Domain(kLinalg);

}  // namespace
}  // namespace toolkit
