// Eigenvalues and -vectors of symmetric matrices: Householder tridiagonalisation by blocks, then
// implicit QL with Wilkinson's shift, whose rotations are kept and applied many at once.
#include "kernels/linalg.h"

namespace toolkit {
namespace {

constexpr int64_t kPanel = 32;      // Reflections whose update is one Gemm.
constexpr int64_t kWidth = 64;      // Columns that kept rotations are applied to while in cache.
constexpr int64_t kKept = 1 << 14;  // Rotations.
constexpr int kSweeps = 60;         // An eigenvalue takes two on average.

// Reduces x (both triangles) to tridiagonal form, x = Q T Q^T: diagonal d, below it e (n - 1
// elements). The reflections are left below the subdiagonal, their factors in tau (n - 1). The rest
// of a matrix is updated by panels, x -= V W^T + W V^T (as LAPACK's latrd; Dongarra et al. 1989).
template <class T>
void Tridiagonalise(T* x, int64_t n, double* d, double* e, T* tau) {
  const LinalgFns<T>& loops = Loops<T>();
  ThreadPool& pool = ThreadPool::Global();
  std::vector<T> memory(static_cast<size_t>(2 * n * kPanel + 3 * n + 2 * kPanel));
  T *v = memory.data(), *w = v + n * kPanel, *u = w + n * kPanel, *p = u + n, *s = p + n;
  for (int64_t first = 0; first + 1 < n; first += kPanel) {
    const int64_t last = std::min(n - 1, first + kPanel);
    for (int64_t k = first; k < last; ++k) {
      const int64_t done = k - first, m = n - k - 1;
      // Column k with the updates of this panel, read from row k, by symmetry.
      T* row = x + k * n;
      for (int64_t j = 0; j < done; ++j) s[j] = -w[k * kPanel + j], p[j] = -v[k * kPanel + j];
      for (int64_t i = k; done > 0 && i < n; ++i)
        row[i] += loops.dot(v + i * kPanel, s, done) + loops.dot(w + i * kPanel, p, done);
      d[k] = row[k];
      tau[k] = T(0);
      double sum = 0, scale = 0;
      for (int64_t i = k + 1; i < n; ++i)
        scale = std::max(scale, std::abs(static_cast<double>(row[i])));
      double beta = row[k + 1];
      if (m > 1 && scale > 0) {
        for (int64_t i = k + 1; i < n; ++i) sum += (row[i] / scale) * (row[i] / scale);
        const double alpha = row[k + 1], norm = scale * std::sqrt(sum);
        beta = alpha >= 0 ? -norm : norm;
        const T factor = static_cast<T>(1 / (alpha - beta));
        for (int64_t i = k + 2; i < n; ++i) row[i] *= factor;
        tau[k] = static_cast<T>((beta - alpha) / beta);
      }
      e[k] = beta;
      u[0] = T(1);
      for (int64_t i = 1; i < m; ++i) u[i] = row[k + 1 + i];
      // p = tau (A u - V (W^T u) - W (V^T u)) and w = p - tau (p^T u) u / 2.
      T* rest = x + (k + 1) * n + k + 1;
      if (tau[k] == T(0)) {
        std::fill_n(p, m, T(0));
      } else {
        pool.ParallelFor(m, std::max<int64_t>(8, 65536 / m), [&](int64_t begin, int64_t end) {
          loops.gemv(rest + begin * n, n, end - begin, m, u, p + begin);
        });
        if (done > 0) {
          T* sums = s;
          T *vs = v + (k + 1) * kPanel, *ws = w + (k + 1) * kPanel;
          std::fill_n(sums, 2 * kPanel, T(0));
          loops.gemv_t(ws, kPanel, m, done, u, sums);
          loops.gemv_t(vs, kPanel, m, done, u, sums + kPanel);
          for (int64_t i = 0; i < m; ++i)
            p[i] -= loops.dot(vs + i * kPanel, sums, done) +
                    loops.dot(ws + i * kPanel, sums + kPanel, done);
        }
        for (int64_t i = 0; i < m; ++i) p[i] *= tau[k];
        loops.axpy(-tau[k] * loops.dot(p, u, m) / 2, u, p, m);
      }
      for (int64_t i = 0; i < m; ++i) {
        v[(k + 1 + i) * kPanel + done] = u[i];
        w[(k + 1 + i) * kPanel + done] = p[i];
      }
    }
    // Rows from `last` on; rows of v and w above are not read again.
    const int64_t m = n - last, k = last - first;
    T *vs = v + last * kPanel, *ws = w + last * kPanel, *rest = x + last * n + last;
    Multiply(m, m, k, T(-1), vs, kPanel, false, ws, kPanel, true, T(1), rest, n);
    Multiply(m, m, k, T(-1), ws, kPanel, false, vs, kPanel, true, T(1), rest, n);
  }
  if (n > 0) d[n - 1] = x[n * n - 1];
}

// Rotations of rows (i, i + 1) of a matrix, kept until there are many.
template <class T>
class Rotations {
 public:
  Rotations(T* rows, int64_t n) : rows_(rows), n_(n) {}
  void Add(int64_t row, double c, double s) {
    kept_.push_back({row, static_cast<T>(c), static_cast<T>(s)});
    if (static_cast<int64_t>(kept_.size()) >= kKept) Flush();
  }
  // Each block of columns takes all of them, in order.
  void Flush() {
    const LinalgFns<T>& loops = Loops<T>();
    ThreadPool::Global().ParallelFor((n_ + kWidth - 1) / kWidth, 1,
                                     [&](int64_t begin, int64_t end) {
                                       for (int64_t b = begin; b < end; ++b) {
                                         const int64_t width = std::min(kWidth, n_ - b * kWidth);
                                         for (const One& r : kept_) {
                                           T* x = rows_ + r.row * n_ + b * kWidth;
                                           loops.rotate(x + n_, x, width, r.c, r.s);
                                         }
                                       }
                                     });
    kept_.clear();
  }

 private:
  struct One {
    int64_t row;
    T c, s;
  };
  T* rows_;
  int64_t n_;
  std::vector<One> kept_;
};

// Implicit QL on a tridiagonal matrix (Bowdler, Martin, Reinsch and Wilkinson 1968: imtql2).
template <class T>
bool ImplicitQl(double* d, double* e, int64_t n, double epsilon, Rotations<T>* rotations) {
  for (int64_t l = 0; l < n; ++l) {
    for (int sweep = 0;; ++sweep) {
      int64_t m = l;
      for (; m + 1 < n; ++m)
        if (std::abs(e[m]) <= epsilon * (std::abs(d[m]) + std::abs(d[m + 1]))) break;
      if (m == l) break;
      if (sweep == kSweeps) return false;
      double g = (d[l + 1] - d[l]) / (2 * e[l]), r = std::hypot(g, 1.0);
      g = d[m] - d[l] + e[l] / (g + std::copysign(r, g));
      double s = 1, c = 1, p = 0;
      int64_t i = m - 1;
      for (; i >= l; --i) {
        const double f = s * e[i], b = c * e[i];
        r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0) {  // Splits: begin again.
          d[i + 1] -= p;
          e[m] = 0;
          break;
        }
        s = f / r, c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        if (rotations) rotations->Add(i, c, s);
      }
      if (r == 0 && i >= l) continue;
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
  return true;
}

}  // namespace

template <class T>
bool SymmetricEigen(T* x, int64_t n, T* w, bool vectors) {
  std::vector<double> d(static_cast<size_t>(n)), e(static_cast<size_t>(n));
  std::vector<T> tau(static_cast<size_t>(n)), q;
  for (int64_t i = 0; i < n * n; ++i)
    if (!std::isfinite(x[i])) return false;
  Tridiagonalise(x, n, d.data(), e.data(), tau.data());
  const double epsilon = vectors && std::is_same_v<T, float> ? 1e-9 : 1e-16;
  bool converged;
  if (vectors) {
    // Rows of x hold the reflections; as columns they are what FormQ reads.
    q.resize(static_cast<size_t>(2 * n * n));
    T *columns = q.data(), *rows = columns + n * n;
    TransposeMatrix(x, n, n, columns);
    std::fill_n(x, n * n, T(0));
    if (n > 0) x[0] = T(1);
    if (n > 1) {
      FormQ(columns + n, n, tau.data(), n - 1, n - 1, n - 1, rows);
      for (int64_t i = 1; i < n; ++i)
        for (int64_t j = 1; j < n; ++j) x[j * n + i] = rows[(i - 1) * (n - 1) + j - 1];
    }
    Rotations<T> rotations(x, n);
    converged = ImplicitQl(d.data(), e.data(), n, epsilon, &rotations);
    rotations.Flush();
  } else {
    converged = ImplicitQl<T>(d.data(), e.data(), n, epsilon, nullptr);
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return d[a] < d[b]; });
  for (int64_t i = 0; i < n; ++i) w[i] = static_cast<T>(d[order[i]]);
  if (vectors) {
    for (int64_t i = 0; i < n; ++i) std::copy_n(x + order[i] * n, n, q.data() + i * n);
    std::copy_n(q.data(), n * n, x);
  }
  return converged;
}

template bool SymmetricEigen<float>(float*, int64_t, float*, bool);
template bool SymmetricEigen<double>(double*, int64_t, double*, bool);

namespace {

// w ascending and V, whose columns' elements of largest magnitude are positive; V without elements
// if it is not wanted. Reads one triangle. NaN where the matrix has no eigenvalues.
class Eigh : public Kernel {
 public:
  explicit Eigh(const Attributes& a)
      : upper_(a.Int("upper", 0) != 0), vectors_(a.Int("vectors", 1) != 0) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Matrices s = SquareMatrices(x);
    const int64_t n = s.rows;
    Tensor& w = c.Output(0, x.dtype(), s.With({n}));
    Tensor& v = c.Output(1, x.dtype(), vectors_ ? x.shape() : Shape{0});
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForMatrices<T>(c, s.count, 9 * n * n * n, n * n, [&](int64_t i, T* a) {
        const T* from = x.data<T>() + i * n * n;
        T* values = w.data<T>() + i * n;
        for (int64_t r = 0; r < n; ++r)
          for (int64_t k = 0; k < n; ++k)
            a[r * n + k] = from[(k > r) == upper_ || k == r ? r * n + k : k * n + r];
        const bool converged = SymmetricEigen(a, n, values, vectors_);
        if (!converged) std::fill_n(values, n, std::numeric_limits<T>::quiet_NaN());
        if (!vectors_) return;
        for (int64_t r = 0; r < n; ++r) FixSign(a + r * n, n);
        TransposeMatrix(a, n, n, v.data<T>() + i * n * n);
      });
    });
  }

 private:
  bool upper_, vectors_;
};

static const bool kEigh = Register<Eigh>("Eigh").Types(kFloats).Domain(kLinalg);

}  // namespace
}  // namespace toolkit
