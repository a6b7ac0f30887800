// Matrix multiplication, the contract that MatMul, Gemm and Conv share.
//
// Row-major: op(A) is (M, K), op(B) is (K, N), C is (M, N); `ld*` is the distance in elements
// between stored rows. Results are bit-identical for any number of threads: work is split over
// tiles of C only, and blocks of K are added in ascending order.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"
#include "simd/elementwise.h"

namespace toolkit {

// Panels of op(B) made on demand, for a B that never exists in memory (im2col).
template <class T>
class PanelSource {
 public:
  virtual ~PanelSource() = default;
  // out[(k - k0) * width + (j - n0)] = op(B)[k, j] for k in [k0, k0 + kc), j in [n0, n0 + n); zeros
  // for the columns from n up to width. Called from several threads.
  virtual void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width, T* out) const = 0;
};

// Rows of op(A) made on demand.
template <class T>
class RowSource {
 public:
  virtual ~RowSource() = default;
  // out[(i - m0) * kc + k - k0] = op(A)[i, k] for i in [m0, m0 + rows), k in [k0, k0 + kc).
  virtual void Rows(int64_t m0, int64_t rows, int64_t k0, int64_t kc, T* out) const = 0;
};

// C = map(bound(alpha op(A) op(B) + beta C + row_bias[i] + col_bias[j] + add)). C must not overlap
// A, B or a bias; it may be `add`.
template <class T>
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t lda = 0;
  bool trans_a = false;
  const T* packed_a = nullptr;             // From PackGemmA; `a`, `lda`, `trans_a` are then unused.
  const RowSource<T>* a_source = nullptr;  // In place of a.
  const T* b = nullptr;
  int64_t ldb = 0;
  bool trans_b = false;
  const T* packed_b = nullptr;               // From PackGemmB; `b`, `ldb`, `trans_b` are unused.
  const PanelSource<T>* b_source = nullptr;  // In place of b.
  T* c = nullptr;
  int64_t ldc = 0;
  T alpha = T(1), beta = T(0);  // C is not read when beta is 0.
  const T* row_bias = nullptr;  // m elements.
  const T* col_bias = nullptr;  // n elements.
  const T* add = nullptr;       // As C.
  bool bounded = false;         // Into [low, high].
  T low = T(0), high = T(0);
  UnaryFn map = nullptr;  // Applied to each element of C last, while its tile is in cache.
  const double* map_params = nullptr;
};

// T: float, double, int32_t, int64_t, uint32_t, uint64_t (integers wrap around, and take no
// source). Splits over the pool's threads, or runs in place inside a worker.
template <class T>
void Gemm(const GemmArgs<T>& args);

// Elements that a packed operand takes.
template <class T>
int64_t PackedGemmASize(int64_t m, int64_t k);
template <class T>
int64_t PackedGemmBSize(int64_t k, int64_t n);

template <class T>
void PackGemmA(bool trans_a, int64_t m, int64_t k, const T* a, int64_t lda, T* packed);
// From panels: source.Pack(k0, kc, i0, rows, rows, out) gives op(A)[i0 + i, k0 + k].
template <class T>
void PackGemmA(int64_t m, int64_t k, const PanelSource<T>& source, T* packed);
template <class T>
void PackGemmB(bool trans_b, int64_t k, int64_t n, const T* b, int64_t ldb, T* packed);

// out[p * width + i] = x[i * ld + p] for i < rows, p < columns; zeros for i from rows to width.
template <class T>
void GemmTranspose(int64_t rows, int64_t columns, const T* x, int64_t ld, int64_t width, T* out);

}  // namespace toolkit
