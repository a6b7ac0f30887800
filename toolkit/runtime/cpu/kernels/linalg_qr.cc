// QR factorisation by Householder reflections, and products of reflections.
#include "kernels/linalg.h"

namespace toolkit {
namespace {

constexpr int64_t kBlock = 32;  // Reflections that are applied to the rest at once.

// The reflection (1 - tau v v^T) x = beta e_0 of x = (a[0], a[ld], ...), m elements: v without its
// leading 1 and beta are left in x. Gives tau; 0 where x is already a multiple of e_0.
template <class T>
T Reflect(T* a, int64_t ld, int64_t m) {
  double scale = 0;  // Against overflow of the squares.
  for (int64_t i = 1; i < m; ++i) scale = std::max(scale, std::abs(static_cast<double>(a[i * ld])));
  if (scale == 0) return T(0);
  const double alpha = a[0];
  scale = std::max(scale, std::abs(alpha));
  double sum = 0;
  for (int64_t i = 0; i < m; ++i) {
    const double x = a[i * ld] / scale;
    sum += x * x;
  }
  const double norm = scale * std::sqrt(sum), beta = alpha >= 0 ? -norm : norm;
  const T factor = static_cast<T>(1 / (alpha - beta));
  for (int64_t i = 1; i < m; ++i) a[i * ld] *= factor;
  a[0] = static_cast<T>(beta);
  return static_cast<T>((beta - alpha) / beta);
}

// A block of k reflections as 1 - V T V^T (compact WY form; Schreiber and Van Loan 1989).
template <class T>
class Block {
 public:
  // Reads the vectors below the diagonal of the m x k block at `a`.
  Block(const T* a, int64_t lda, const T* tau, int64_t m, int64_t k)
      : m_(m), k_(k), v_(static_cast<size_t>(m * k)), t_(static_cast<size_t>(k * k)) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < k; ++j) v_[i * k + j] = i > j ? a[i * lda + j] : i == j ? T(1) : T(0);
    std::vector<T> products(static_cast<size_t>(k * k));
    Multiply(k, k, m, T(1), v_.data(), k, true, v_.data(), k, false, T(0), products.data(), k);
    for (int64_t j = 0; j < k; ++j) {  // Column j: -tau T V^T v_j above tau.
      for (int64_t i = 0; i < j; ++i) {
        T sum = 0;
        for (int64_t l = i; l < j; ++l) sum += t_[i * k + l] * products[l * k + j];
        t_[i * k + j] = -tau[j] * sum;
      }
      t_[j * k + j] = tau[j];
    }
  }

  // c (m x n) = (1 - V op(T) V^T) c; `trans` applies the reflections from first to last.
  void Apply(T* c, int64_t ldc, int64_t n, bool trans) {
    w_.resize(static_cast<size_t>(2 * k_ * n));
    T *w = w_.data(), *tw = w + k_ * n;
    Multiply(k_, n, m_, T(1), v_.data(), k_, true, c, ldc, false, T(0), w, n);
    Multiply(k_, n, k_, T(1), t_.data(), k_, trans, w, n, false, T(0), tw, n);
    Multiply(m_, n, k_, T(-1), v_.data(), k_, false, tw, n, false, T(1), c, ldc);
  }

 private:
  int64_t m_, k_;
  std::vector<T> v_, t_, w_;
};

}  // namespace

template <class T>
void FactorQr(T* a, int64_t m, int64_t n, int64_t lda, T* tau) {
  const LinalgFns<T>& loops = Loops<T>();
  const int64_t count = std::min(m, n);
  T row[kBlock];
  std::vector<T> v(static_cast<size_t>(m));
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t last = std::min(count, first + kBlock);
    const int64_t panel = n - last < kBlock ? n : last;  // Few columns are updated at once.
    for (int64_t k = first; k < last; ++k) {
      T* at = a + k * lda + k;
      tau[k] = Reflect(at, lda, m - k);
      const int64_t rest = panel - k - 1;
      if (tau[k] == T(0) || rest == 0) continue;
      v[0] = T(1);
      for (int64_t i = 1; i < m - k; ++i) v[i] = at[i * lda];
      for (int64_t j = 0; j < rest; j += kBlock) {
        const int64_t width = std::min(kBlock, rest - j);
        std::fill_n(row, width, T(0));
        loops.gemv_t(at + 1 + j, lda, m - k, width, v.data(), row);
        for (int64_t i = 0; i < width; ++i) row[i] *= -tau[k];
        loops.ger(at + 1 + j, lda, m - k, width, v.data(), row);
      }
    }
    if (panel == n) continue;
    Block<T> block(a + first * lda + first, lda, tau + first, m - first, last - first);
    block.Apply(a + first * lda + last, lda, n - last, true);
  }
}

template <class T>
void FormQ(const T* a, int64_t lda, const T* tau, int64_t m, int64_t k, int64_t columns, T* q) {
  std::fill_n(q, m * columns, T(0));
  for (int64_t i = 0; i < std::min(m, columns); ++i) q[i * columns + i] = T(1);
  for (int64_t first = (k - 1) / kBlock * kBlock; first >= 0 && k > 0; first -= kBlock) {
    const int64_t last = std::min(k, first + kBlock);
    Block<T> block(a + first * lda + first, lda, tau + first, m - first, last - first);
    // Columns before `first` are unit vectors still, with zeros in these rows.
    block.Apply(q + first * columns + first, columns, columns - first, false);
  }
}

template void FactorQr<float>(float*, int64_t, int64_t, int64_t, float*);
template void FactorQr<double>(double*, int64_t, int64_t, int64_t, double*);
template void FormQ<float>(const float*, int64_t, const float*, int64_t, int64_t, int64_t, float*);
template void FormQ<double>(const double*, int64_t, const double*, int64_t, int64_t, int64_t,
                            double*);

namespace {

// The reflections below the diagonal and R above, and their factors.
void Geqrf(KernelContext& c) {
  const Tensor& x = c.input(0);
  const Matrices s(x);
  const int64_t k = std::min(s.rows, s.columns), size = s.rows * s.columns;
  Tensor& y = c.Output(0, x.dtype(), x.shape());
  Tensor& tau = c.Output(1, x.dtype(), s.With({k}));
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForMatrices<T>(c, s.count, 2 * size * k, 0, [&](int64_t i, T*) {
      T* a = y.data<T>() + i * size;
      std::copy_n(x.data<T>() + i * size, size, a);
      FactorQr(a, s.rows, s.columns, s.columns, tau.data<T>() + i * k);
    });
  });
}

// The first n columns of the product of the reflections of an m x n matrix.
void HouseholderProduct(KernelContext& c) {
  const Tensor &x = c.input(0), &tau = c.input(1);
  const Matrices s(x);
  RequireType(tau, x, "tau");
  const int64_t k = tau.rank() ? tau.dim(tau.rank() - 1) : -1, size = s.rows * s.columns;
  TK_REQUIRE(s.rows >= s.columns && k >= 0 && k <= s.columns && tau.shape() == s.With({k}),
             ErrorKind::kShape, "tau must have the batch of x ", x.shape().ToString(),
             " and at most as many elements as its columns, those at most as its rows, got ",
             tau.shape().ToString());
  Tensor& y = c.Output(0, x.dtype(), x.shape());
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForMatrices<T>(c, s.count, 2 * size * k, 0, [&](int64_t i, T*) {
      FormQ(x.data<T>() + i * size, s.columns, tau.data<T>() + i * k, s.rows, k, s.columns,
            y.data<T>() + i * size);
    });
  });
}

// Q and R: "reduced" (m x k, k x n), "complete" (m x m, m x n), or "r" (Q without elements).
class Qr : public Kernel {
 public:
  explicit Qr(const Attributes& a) : mode_(a.String("mode", "reduced")) {
    TK_REQUIRE(mode_ == "reduced" || mode_ == "complete" || mode_ == "r",
               ErrorKind::kInvalidArgument, "mode must be reduced, complete or r, got ", mode_);
  }
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Matrices s(x);
    const int64_t m = s.rows, n = s.columns, k = std::min(m, n);
    const int64_t columns = mode_ == "complete" ? m : k;
    Tensor& q = c.Output(0, x.dtype(), mode_ == "r" ? Shape{0} : s.With({m, columns}));
    Tensor& r = c.Output(1, x.dtype(), s.With({columns, n}));
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForMatrices<T>(c, s.count, 4 * m * n * k, m * n + k, [&](int64_t i, T* a) {
        T *tau = a + m * n, *to = r.data<T>() + i * columns * n;
        std::copy_n(x.data<T>() + i * m * n, m * n, a);
        FactorQr(a, m, n, n, tau);
        for (int64_t row = 0; row < columns; ++row)
          for (int64_t j = 0; j < n; ++j) to[row * n + j] = j < row ? T(0) : a[row * n + j];
        if (mode_ != "r") FormQ(a, n, tau, m, k, columns, q.data<T>() + i * m * columns);
      });
    });
  }

 private:
  std::string mode_;
};

static const bool kQr =
    RegisterFn("Geqrf", Geqrf).Types(kFloats).Domain(kLinalg) &&
    RegisterFn("HouseholderProduct", HouseholderProduct).Types(kFloats).Domain(kLinalg) &&
    Register<Qr>("Qr").Types(kFloats).Domain(kLinalg);

}  // namespace
}  // namespace toolkit
