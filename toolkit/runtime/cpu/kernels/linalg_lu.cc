// LU factorisation with partial pivoting, and solving linear systems by it.
#include "kernels/linalg.h"

namespace toolkit {

constexpr int64_t kBlock = 32;  // Columns that are factored before the rest is updated.

Matrices::Matrices(const Tensor& x) {
  const int rank = x.rank();
  TK_REQUIRE(rank >= 2, ErrorKind::kShape, "input must hold matrices, got shape ",
             x.shape().ToString());
  batch = Shape(x.shape().begin(), rank - 2);
  count = x.shape().Count(0, rank - 2);
  rows = x.dim(rank - 2), columns = x.dim(rank - 1);
}

Shape Matrices::With(std::initializer_list<int64_t> last) const {
  Shape shape = batch;
  for (const int64_t d : last) shape.push_back(d);
  return shape;
}

Matrices SquareMatrices(const Tensor& x) {
  const Matrices m(x);
  TK_REQUIRE(m.rows == m.columns, ErrorKind::kShape, "input must hold square matrices, got shape ",
             x.shape().ToString());
  return m;
}

void RequireType(const Tensor& x, const Tensor& like, const char* what) {
  TK_REQUIRE(x.dtype() == like.dtype(), ErrorKind::kDType, what,
             " must have the type of the matrices, ", Name(like.dtype()), ", got ",
             Name(x.dtype()));
}

template <class T>
int FactorLu(T* a, int64_t m, int64_t n, int32_t* pivots, int32_t* info) {
  const LinalgFns<T>& loops = Loops<T>();
  const int64_t k_end = std::min(m, n);
  int sign = 1;
  *info = 0;
  for (int64_t first = 0; first < k_end; first += kBlock) {
    const int64_t last = std::min(k_end, first + kBlock);
    const int64_t panel = last == k_end ? n : last;  // The last block is updated at once.
    for (int64_t k = first; k < last; ++k) {
      int64_t pivot = k;
      for (int64_t i = k + 1; i < m; ++i)
        if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
      if (pivots) pivots[k] = static_cast<int32_t>(pivot);
      if (pivot != k) {
        std::swap_ranges(a + k * n, a + (k + 1) * n, a + pivot * n);
        sign = -sign;
      }
      const T* row = a + k * n;
      if (row[k] == T(0)) {
        if (*info == 0) *info = static_cast<int32_t>(k + 1);
        continue;
      }
      for (int64_t i = k + 1; i < m; ++i) {
        T* to = a + i * n;
        const T factor = to[k] /= row[k];
        if (factor != T(0)) loops.axpy(-factor, row + k + 1, to + k + 1, panel - k - 1);
      }
    }
    if (panel == n) continue;
    SolveTriangular(a + first * n + first, n, last - first, false, true, false,
                    a + first * n + last, n, n - last);
    Multiply(m - last, n - last, last - first, T(-1), a + last * n + first, n, false,
             a + first * n + last, n, false, T(1), a + last * n + last, n);
  }
  return sign;
}

namespace {

// The block of rows [first, last) of the solution, from right sides of which the other rows are
// already taken off.
template <class T>
void SolveBlock(const T* a, int64_t lda, int64_t first, int64_t last, bool backwards, bool unit,
                bool trans, T* b, int64_t ldb, int64_t r) {
  const LinalgFns<T>& loops = Loops<T>();
  for (int64_t step = 0; step < last - first; ++step) {
    const int64_t i = backwards ? last - 1 - step : first + step;
    T* row = b + i * ldb;
    const int64_t from = backwards ? i + 1 : first, to = backwards ? last : i;
    for (int64_t j = from; j < to; ++j)
      loops.axpy(-(trans ? a[j * lda + i] : a[i * lda + j]), b + j * ldb, row, r);
    if (unit) continue;
    const T pivot = a[i * lda + i];
    for (int64_t j = 0; j < r; ++j) row[j] /= pivot;
  }
}

// One right side, contiguous.
template <class T>
void SolveVector(const T* a, int64_t lda, int64_t n, bool backwards, bool unit, bool trans, T* x) {
  const LinalgFns<T>& loops = Loops<T>();
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = backwards ? n - 1 - step : step;
    const int64_t from = backwards ? i + 1 : 0, count = backwards ? n - 1 - i : i;
    if (!trans) x[i] -= loops.dot(a + i * lda + from, x + from, count);
    if (!unit) x[i] /= a[i * lda + i];
    if (trans) {  // Row i of A is column i of the operator: its other rows come later.
      const int64_t rest = backwards ? 0 : i + 1;
      loops.axpy(-x[i], a + i * lda + rest, x + rest, backwards ? i : n - 1 - i);
    }
  }
}

}  // namespace

template <class T>
void SolveTriangular(const T* a, int64_t lda, int64_t n, bool upper, bool unit, bool trans, T* b,
                     int64_t ldb, int64_t r) {
  const bool backwards = upper != trans;
  if (r == 1 && ldb == 1) return SolveVector(a, lda, n, backwards, unit, trans, b);
  for (int64_t done = 0; done < n; done += kBlock) {
    const int64_t size = std::min(kBlock, n - done);
    const int64_t first = backwards ? n - done - size : done, last = first + size;
    if (done > 0) {
      const int64_t from = backwards ? last : 0;
      const T* part = trans ? a + from * lda + first : a + first * lda + from;
      Multiply(size, r, done, T(-1), part, lda, trans, b + from * ldb, ldb, false, T(1),
               b + first * ldb, ldb);
    }
    SolveBlock(a, lda, first, last, backwards, unit, trans, b, ldb, r);
  }
}

template int FactorLu<float>(float*, int64_t, int64_t, int32_t*, int32_t*);
template int FactorLu<double>(double*, int64_t, int64_t, int32_t*, int32_t*);
template void SolveTriangular<float>(const float*, int64_t, int64_t, bool, bool, bool, float*,
                                     int64_t, int64_t);
template void SolveTriangular<double>(const double*, int64_t, int64_t, bool, bool, bool, double*,
                                      int64_t, int64_t);

namespace {

// LU, pivots from 1 as LAPACK counts them, info.
void Lu(KernelContext& c) {
  const Tensor& x = c.input(0);
  const Matrices s(x);
  const int64_t k = std::min(s.rows, s.columns), size = s.rows * s.columns;
  Tensor& y = c.Output(0, x.dtype(), x.shape());
  Tensor& pivots = c.Output(1, DType::kInt32, s.With({k}));
  Tensor& info = c.Output(2, DType::kInt32, s.batch);
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForMatrices<T>(c, s.count, size * k, 0, [&](int64_t i, T*) {
      T* a = y.data<T>() + i * size;
      int32_t* p = pivots.data<int32_t>() + i * k;
      std::copy_n(x.data<T>() + i * size, size, a);
      FactorLu(a, s.rows, s.columns, p, info.data<int32_t>() + i);
      for (int64_t j = 0; j < k; ++j) ++p[j];
    });
  });
}

// B (n x r) is overwritten by the solution of op(P L U) X = B.
template <class T>
void SolveFactored(const T* lu, const int32_t* pivots, int64_t n, bool trans, T* b, int64_t r) {
  if (!trans) {
    for (int64_t k = 0; k < n; ++k)
      if (pivots[k] != k) std::swap_ranges(b + k * r, b + (k + 1) * r, b + pivots[k] * r);
    SolveTriangular(lu, n, n, false, true, false, b, r, r);
    SolveTriangular(lu, n, n, true, false, false, b, r, r);
    return;
  }
  SolveTriangular(lu, n, n, true, false, true, b, r, r);
  SolveTriangular(lu, n, n, false, true, true, b, r, r);
  for (int64_t k = n - 1; k >= 0; --k)
    if (pivots[k] != k) std::swap_ranges(b + k * r, b + (k + 1) * r, b + pivots[k] * r);
}

Matrices RightSides(const Tensor& a, const Tensor& b) {
  const Matrices s = SquareMatrices(a), right(b);
  RequireType(b, a, "right sides");
  TK_REQUIRE(right.batch == s.batch && right.rows == s.rows, ErrorKind::kShape,
             "right sides must have the batch and the rows of the matrices ", a.shape().ToString(),
             ", got ", b.shape().ToString());
  return right;
}

// X of A X = B, then LU, pivots, info of A.
void Solve(KernelContext& c) {
  const Tensor &x = c.input(0), &right = c.input(1);
  const Matrices b = RightSides(x, right);
  const int64_t n = b.rows, r = b.columns;
  Tensor& y = c.Output(0, x.dtype(), right.shape());
  Tensor& lu = c.Output(1, x.dtype(), x.shape());
  Tensor& pivots = c.Output(2, DType::kInt32, b.With({n}));
  Tensor& info = c.Output(3, DType::kInt32, b.batch);
  DispatchFloats(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ForMatrices<T>(c, b.count, n * n * (n + r), 0, [&](int64_t i, T*) {
      T *a = lu.data<T>() + i * n * n, *to = y.data<T>() + i * n * r;
      int32_t* p = pivots.data<int32_t>() + i * n;
      std::copy_n(x.data<T>() + i * n * n, n * n, a);
      std::copy_n(right.data<T>() + i * n * r, n * r, to);
      FactorLu(a, n, n, p, info.data<int32_t>() + i);
      SolveFactored(a, p, n, false, to, r);
      for (int64_t j = 0; j < n; ++j) ++p[j];
    });
  });
}

void RequirePivots(const Tensor& pivots, const Shape& shape, int64_t rows) {
  TK_REQUIRE(pivots.dtype() == DType::kInt32 && pivots.shape() == shape, ErrorKind::kShape,
             "pivots must be int32 of shape ", shape.ToString(), ", got ", Name(pivots.dtype()),
             " ", pivots.shape().ToString());
  const int32_t* p = pivots.data<int32_t>();
  for (int64_t i = 0; i < pivots.shape().Count(0, shape.rank()); ++i)
    TK_REQUIRE(p[i] >= 1 && p[i] <= rows, ErrorKind::kInvalidArgument,
               "pivots must lie between 1 and ", rows, ", got ", p[i]);
}

class LuSolve : public Kernel {
 public:
  explicit LuSolve(const Attributes& a) : trans_(a.Int("trans", 0) != 0) {}
  void Run(KernelContext& c) const override {
    const Tensor &lu = c.input(0), &pivots = c.input(1), &right = c.input(2);
    const Matrices b = RightSides(lu, right);
    const int64_t n = b.rows, r = b.columns;
    RequirePivots(pivots, b.With({n}), n);
    const int32_t* p = pivots.data<int32_t>();
    Tensor& y = c.Output(0, lu.dtype(), right.shape());
    DispatchFloats(lu.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForMatrices<T>(c, b.count, n * n * r, 0, [&](int64_t i, T*) {
        std::vector<int32_t> from0(p + i * n, p + (i + 1) * n);
        for (int32_t& v : from0) --v;
        T* to = y.data<T>() + i * n * r;
        std::copy_n(right.data<T>() + i * n * r, n * r, to);
        SolveFactored(lu.data<T>() + i * n * n, from0.data(), n, trans_, to, r);
      });
    });
  }

 private:
  bool trans_;
};

class LuPermutation : public Kernel {
 public:
  explicit LuPermutation(const Attributes& a) : inverse_(a.Int("inverse", 0) != 0) {}
  void Run(KernelContext& c) const override {
    const Matrices s(c.input(0));
    const Tensor& pivots = c.input(1);
    const int64_t k = std::min(s.rows, s.columns);
    RequirePivots(pivots, s.With({k}), s.rows);
    Tensor& y = c.Output(0, DType::kInt64, s.With({s.rows}));
    std::vector<int64_t> order(static_cast<size_t>(s.rows));
    for (int64_t i = 0; i < s.count; ++i) {
      const int32_t* p = pivots.data<int32_t>() + i * k;
      int64_t* to = y.data<int64_t>() + i * s.rows;
      for (int64_t j = 0; j < s.rows; ++j) order[j] = j;
      for (int64_t j = 0; j < k; ++j) std::swap(order[j], order[p[j] - 1]);
      for (int64_t j = 0; j < s.rows; ++j)
        (inverse_ ? to[order[j]] : to[j]) = inverse_ ? j : order[j];
    }
  }

 private:
  bool inverse_;
};

class Triangular : public Kernel {
 public:
  explicit Triangular(const Attributes& a)
      : upper_(a.Int("upper", 0) != 0),
        unit_(a.Int("unit", 0) != 0),
        trans_(a.Int("trans", 0) != 0) {}
  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &right = c.input(1);
    const Matrices b = RightSides(x, right);
    const int64_t n = b.rows, r = b.columns;
    Tensor& y = c.Output(0, x.dtype(), right.shape());
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      ForMatrices<T>(c, b.count, n * n * r, 0, [&](int64_t i, T*) {
        T* to = y.data<T>() + i * n * r;
        std::copy_n(right.data<T>() + i * n * r, n * r, to);
        SolveTriangular(x.data<T>() + i * n * n, n, n, upper_, unit_, trans_, to, r, r);
      });
    });
  }

 private:
  bool upper_, unit_, trans_;
};

static const bool kLu = RegisterFn("Lu", Lu).Types(kFloats).Domain(kLinalg) &&
                        RegisterFn("Solve", Solve).Types(kFloats).Domain(kLinalg) &&
                        Register<LuPermutation>("LuPermutation").Types(kFloats).Domain(kLinalg) &&
                        Register<LuSolve>("LuSolve").Types(kFloats).Domain(kLinalg) &&
                        Register<Triangular>("SolveTriangular").Types(kFloats).Domain(kLinalg);

}  // namespace
}  // namespace toolkit
