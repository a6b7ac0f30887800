// Micro-kernels and packing of matrix multiplication; core/gemm.h drives them.
//
// Words: a micro-kernel (ukernel) computes a tile of mr rows and nr columns of C = A B over kc
// steps of K. A panel of A is up to mr rows, a panel of B is nr columns. A packed panel of B stores
// its nr columns of each k side by side, zero padded; a packed panel of A its rows, without
// padding.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

constexpr int kMaxGemmRows = 14;  // Largest mr of any instruction set.

// c = alpha * acc + beta * c + row_bias[i] + col_bias[j] + add[i * ldc + j], then into [low, high];
// c is not read when beta is 0. NaN stays.
template <class T>
struct GemmStore {
  T alpha, beta;
  const T* row_bias;  // Null: none.
  const T* col_bias;
  const char* ahead = nullptr;  // Memory that is read next: two lines are asked for at each k, ...
  int64_t ahead_step = 0;       // ... this many bytes further.
  const T* add = nullptr;
  bool bounded = false;
  T low = T(0), high = T(0);
};

// One tile: `n` columns of C. A's element (i, k) is a[i + k * lda] ("columns") or
// a[i * lda + k] ("rows"); B's element (k, j) is b[k * ldb + j], whole vectors are read.
template <class T>
using GemmUkernel = void (*)(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                             int64_t ldc, int64_t n, const GemmStore<T>& store);

template <class T>
struct GemmKernels {
  int mr, nr, lanes;  // nr = 2 * lanes.
  int kc, nc;         // Block sizes: kc x nr of B and mr x kc of A fit L1, kc x nc of B fits L2.
  // [A by rows][tile of at most one vector of columns][rows of the tile].
  GemmUkernel<T> ukernel[2][2][kMaxGemmRows + 1];

  // out[k * width + i] = x[i * ld + k] for i < rows; the rest up to width becomes 0.
  void (*pack_transposed)(int64_t rows, int64_t k, const T* x, int64_t ld, int64_t width, T* out);
  // out[k * width + i] = x[k * ld + i] for i < rows; the rest up to width becomes 0.
  void (*pack_straight)(int64_t rows, int64_t k, const T* x, int64_t ld, int64_t width, T* out);

  // y[j] += sum_k x[k] b[k * ldb + j], j < n: k ascending, read row by row.
  void (*axpy_rows)(int64_t k, int64_t n, const T* x, const T* b, int64_t ldb, T* y);
  // y[j] = sum_k x[k] b[j * ldb + k], j < n.
  void (*dot_rows)(int64_t k, int64_t n, const T* x, const T* b, int64_t ldb, T* y);
};

struct GemmTable {
  GemmKernels<float> f32;
  GemmKernels<double> f64;
  GemmKernels<uint32_t> u32;  // Signed ones share the bits.
  GemmKernels<uint64_t> u64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(GemmTable, gemm_table, GemmSimd)
