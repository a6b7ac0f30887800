// Register-blocked micro-kernels by vector extensions; see simd/gemm.h for the contract.
#include "simd/gemm.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")

// A tile that is wider than the `n` columns of C left. Apart, to keep the micro-kernels small.
template <class T>
__attribute__((noinline)) void StorePartial(const T* tile, int rows, int width, T* c, int64_t ldc,
                                            int64_t n, const GemmStore<T>& store) {
  for (int i = 0; i < rows; ++i, tile += width, c += ldc) {
    for (int64_t j = 0; j < n; ++j) {
      T v = tile[j] * store.alpha;
      if (store.beta != T(0)) v += c[j] * store.beta;
      if (store.row_bias) v += store.row_bias[i];
      if (store.col_bias) v += store.col_bias[j];
      if (store.add) v += store.add[i * ldc + j];
      if (store.bounded) {
        v = v < store.low ? store.low : v;
        v = v > store.high ? store.high : v;
      }
      c[j] = v;
    }
  }
}

// Every element is one chain of multiply-adds in ascending k, so that a result does not depend on
// the tile it falls into. Only tiles of few rows (too few chains to hide the latency) split k by
// `Chains`, which depends on the number of rows alone.
template <class T, int Rows, int Vectors, bool ByRows>
void Ukernel(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc,
             int64_t n, const GemmStore<T>& store) {
  constexpr int kWidth = kLanes<T>;
  constexpr int kChains = Rows == 1 ? 4 : Rows == 2 ? 2 : 1;
  Vec<T> acc[kChains][Rows][Vectors] = {};
  const int64_t row = ByRows ? lda : 1, step = ByRows ? 1 : lda;
  if (store.beta != T(0)) {  // C is read at the end.
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int j = 0; j < Vectors; ++j) __builtin_prefetch(c + i * ldc + j * kWidth);
    }
  }
  const char* ahead = store.ahead ? store.ahead : reinterpret_cast<const char*>(&store);
  const auto accumulate = [&](Vec<T>(&sum)[Rows][Vectors], const T* ak, const T* bk)
                              __attribute__((always_inline)) {
                                Vec<T> bv[Vectors];
                                TK_UNROLL
                                for (int j = 0; j < Vectors; ++j) bv[j] = Load(bk + j * kWidth);
                                TK_UNROLL
                                for (int i = 0; i < Rows; ++i) {
                                  const Vec<T> av = Set1(ak[i * row]);
                                  TK_UNROLL
                                  for (int j = 0; j < Vectors; ++j) sum[i][j] += av * bv[j];
                                }
                              };
  for (; k >= kChains; k -= kChains) {
    TK_UNROLL
    for (int u = 0; u < kChains; ++u) accumulate(acc[u], a + u * step, b + u * ldb);
    __builtin_prefetch(ahead);
    __builtin_prefetch(ahead + 64);
    ahead += store.ahead_step;
    a += kChains * step;
    b += kChains * ldb;
  }
  if (kChains > 1) {
    for (; k > 0; --k, a += step, b += ldb) accumulate(acc[0], a, b);
    TK_UNROLL
    for (int u = 1; u < kChains; ++u) {
      TK_UNROLL
      for (int i = 0; i < Rows; ++i) {
        TK_UNROLL
        for (int j = 0; j < Vectors; ++j) acc[0][i][j] += acc[u][i][j];
      }
    }
  }
  if (n == Vectors * kWidth) {
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int j = 0; j < Vectors; ++j) {
        T* at = c + i * ldc + j * kWidth;
        Vec<T> v = acc[0][i][j] * Set1(store.alpha);
        if (store.beta != T(0)) v += Load(at) * Set1(store.beta);
        if (store.row_bias) v += Set1(store.row_bias[i]);
        if (store.col_bias) v += Load(store.col_bias + j * kWidth);
        if (store.add) v += Load(store.add + i * ldc + j * kWidth);
        if (store.bounded) {
          v = v < Set1(store.low) ? Set1(store.low) : v;
          v = v > Set1(store.high) ? Set1(store.high) : v;
        }
        Store(at, v);
      }
    }
    return;
  }
  Vec<T> tile[Rows * Vectors];
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    TK_UNROLL
    for (int j = 0; j < Vectors; ++j) tile[i * Vectors + j] = acc[0][i][j];
  }
  StorePartial(reinterpret_cast<const T*>(tile), Rows, Vectors * kWidth, c, ldc, n, store);
}

// A square of 32-byte vectors, transposed in registers.
template <class T>
constexpr int kBlock = 32 / static_cast<int>(sizeof(T));

template <class T>
using BlockVec = typename VecOf<T, kBlock<T>>::type;

template <class T>
TK_INLINE void TransposeBlock(BlockVec<T> (&v)[kBlock<T>]) {
  if constexpr (sizeof(T) == 4) {
    BlockVec<T> t[8], u[8];
    TK_UNROLL
    for (int i = 0; i < 8; i += 2) {
      t[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
      t[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    TK_UNROLL
    for (int i = 0; i < 8; i += 4) {
      u[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      u[i + 1] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
      u[i + 2] = __builtin_shufflevector(t[i + 1], t[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
      u[i + 3] = __builtin_shufflevector(t[i + 1], t[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    TK_UNROLL
    for (int i = 0; i < 4; ++i) {
      v[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
      v[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
  } else {
    BlockVec<T> t[4];
    TK_UNROLL
    for (int i = 0; i < 4; i += 2) {
      t[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 4, 2, 6);
      t[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 1, 5, 3, 7);
    }
    TK_UNROLL
    for (int i = 0; i < 2; ++i) {
      v[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 4, 5);
      v[i + 2] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 6, 7);
    }
  }
}

template <class T>
void PackTransposed(int64_t rows, int64_t k, const T* x, int64_t ld, int64_t width, T* out) {
  constexpr int kB = kBlock<T>;
  int64_t i = 0;
  // The last block of rows overlaps the one before, so that none is left.
  for (; i < rows && rows >= kB; i = i + kB < rows && i + 2 * kB > rows ? rows - kB : i + kB) {
    int64_t p = 0;
    for (; p + kB <= k; p += kB) {
      BlockVec<T> v[kB];
      TK_UNROLL
      for (int r = 0; r < kB; ++r) memcpy(&v[r], x + (i + r) * ld + p, sizeof(v[r]));
      TransposeBlock<T>(v);
      TK_UNROLL
      for (int r = 0; r < kB; ++r) memcpy(out + (p + r) * width + i, &v[r], sizeof(v[r]));
    }
    for (; p < k; ++p)
      for (int r = 0; r < kB; ++r) out[p * width + i + r] = x[(i + r) * ld + p];
  }
  if (i >= width) return;
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t r = i; r < rows; ++r) out[p * width + r] = x[r * ld + p];
    for (int64_t r = rows; r < width; ++r) out[p * width + r] = T(0);
  }
}

template <class T>
void PackStraight(int64_t rows, int64_t k, const T* x, int64_t ld, int64_t width, T* out) {
  if (rows == 2 * kLanes<T> && width == rows) {  // A full panel of B.
    for (int64_t p = 0; p < k; ++p) {
      Store(out + p * width, Load(x + p * ld));
      Store(out + p * width + kLanes<T>, Load(x + p * ld + kLanes<T>));
    }
    return;
  }
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t i = 0; i < rows; ++i) out[p * width + i] = x[p * ld + i];
    for (int64_t i = rows; i < width; ++i) out[p * width + i] = T(0);
  }
}

// Four rows of B a pass: y is loaded and stored once for them.
template <class T>
void AxpyRows(int64_t k, int64_t n, const T* x, const T* b, int64_t ldb, T* y) {
  constexpr int kWidth = kLanes<T>;
  int64_t p = 0;
  for (; p + 4 <= k; p += 4, b += 4 * ldb) {
    const T x0 = x[p], x1 = x[p + 1], x2 = x[p + 2], x3 = x[p + 3];
    int64_t j = 0;
    for (; j + kWidth <= n; j += kWidth) {
      Vec<T> v = Load(y + j);
      v += Set1(x0) * Load(b + j);
      v += Set1(x1) * Load(b + ldb + j);
      v += Set1(x2) * Load(b + 2 * ldb + j);
      v += Set1(x3) * Load(b + 3 * ldb + j);
      Store(y + j, v);
    }
    for (; j < n; ++j) {
      T v = y[j];
      v += x0 * b[j];
      v += x1 * b[ldb + j];
      v += x2 * b[2 * ldb + j];
      v += x3 * b[3 * ldb + j];
      y[j] = v;
    }
  }
  for (; p < k; ++p, b += ldb)
    for (int64_t j = 0; j < n; ++j) y[j] += x[p] * b[j];
}

template <class T>
TK_INLINE T Sum(Vec<T> v) {
  T lanes[kLanes<T>];
  Store(lanes, v);
  for (int w = kLanes<T> / 2; w > 0; w /= 2)
    for (int i = 0; i < w; ++i) lanes[i] += lanes[i + w];
  return lanes[0];
}

// `Rows` rows of B at once, `Chains` accumulators for each; the split of k is the same for all.
template <class T, int Rows>
TK_INLINE void DotTile(int64_t k, const T* x, const T* b, int64_t ldb, T* y) {
  constexpr int kWidth = kLanes<T>, kChains = 2;
  Vec<T> acc[Rows][kChains] = {};
  int64_t p = 0;
  for (; p + kChains * kWidth <= k; p += kChains * kWidth) {
    TK_UNROLL
    for (int u = 0; u < kChains; ++u) {
      const Vec<T> xv = Load(x + p + u * kWidth);
      TK_UNROLL
      for (int r = 0; r < Rows; ++r) acc[r][u] += xv * Load(b + r * ldb + p + u * kWidth);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    T sum = Sum<T>(acc[r][0] + acc[r][1]);
    for (int64_t q = p; q < k; ++q) sum += x[q] * b[r * ldb + q];
    y[r] = sum;
  }
}

template <class T>
void DotRows(int64_t k, int64_t n, const T* x, const T* b, int64_t ldb, T* y) {
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) DotTile<T, 4>(k, x, b + j * ldb, ldb, y + j);
  for (; j < n; ++j) DotTile<T, 1>(k, x, b + j * ldb, ldb, y + j);
}

template <class T, int MaxRows, int Rows = 1>
constexpr void FillUkernels(GemmKernels<T>& table) {
  if constexpr (Rows <= MaxRows) {
    table.ukernel[0][0][Rows] = Ukernel<T, Rows, 2, false>;
    table.ukernel[0][1][Rows] = Ukernel<T, Rows, 1, false>;
    table.ukernel[1][0][Rows] = Ukernel<T, Rows, 2, true>;
    table.ukernel[1][1][Rows] = Ukernel<T, Rows, 1, true>;
    FillUkernels<T, MaxRows, Rows + 1>(table);
  }
}

template <class T, int MaxRows>
constexpr GemmKernels<T> Kernels(int kc, int nc) {
  GemmKernels<T> table = {};
  table.mr = MaxRows;
  table.nr = 2 * kLanes<T>;
  table.lanes = kLanes<T>;
  table.kc = kc;
  table.nc = nc;
  FillUkernels<T, MaxRows>(table);
  table.pack_transposed = PackTransposed<T>;
  table.pack_straight = PackStraight<T>;
  table.axpy_rows = AxpyRows<T>;
  table.dot_rows = DotRows<T>;
  return table;
}

// Rows such that two vectors of C a row, two of B and one of A fit the register file.
#if defined(__AVX512F__)
constexpr int kRows = 14, kKc = 768, kNc = 512;
#elif defined(__AVX2__)
constexpr int kRows = 6, kKc = 256, kNc = 256;
#elif defined(__aarch64__)
constexpr int kRows = 12, kKc = 256, kNc = 256;
#else
constexpr int kRows = 5, kKc = 256, kNc = 256;
#endif

}  // namespace

extern const GemmTable gemm_table = {
    Kernels<float, kRows>(kKc, kNc),
    Kernels<double, kRows>(kKc / 2, kNc),
    Kernels<uint32_t, 4>(kKc, kNc),
    Kernels<uint64_t, 4>(kKc / 2, kNc),
};

}  // namespace toolkit::TOOLKIT_ISA_NS
