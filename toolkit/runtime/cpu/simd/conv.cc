#include "simd/conv.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")

constexpr int kWidth = kLanes<float>;

template <int W>
using VW = typename VecOf<float, W>::type;

// Whole vectors, the last one overlapping the one before. n >= W.
template <int W>
TK_INLINE void CopyWide(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += W) {
    const int64_t at = i + W <= n ? i : n - W;
    VW<W> v;
    memcpy(&v, x + at, sizeof(v));
    memcpy(out + at, &v, sizeof(v));
  }
}

// out[i] = x[2 * i], by eights; nothing beyond the last is read. n >= 8.
TK_INLINE void CopyEven(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 8) {
    const int64_t at = i + 8 <= n ? i : n - 8;
    VW<8> a, b;
    memcpy(&a, x + 2 * at, sizeof(a));
    memcpy(&b, x + 2 * at + 7, sizeof(b));
    const VW<8> v = __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15);
    memcpy(out + at, &v, sizeof(v));
  }
}

// Planes lie too far apart for the processor's own prefetching.
TK_INLINE void Prefetch(const float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(x + i);
}

void LoadRows(const RowCopy* rows, int64_t count, int64_t stride, const float* x, int64_t ahead,
              float* out) {
  for (int64_t r = 0; r < count; ++r) {
    const float* from = x + rows[r].from;
    float* to = out + rows[r].to;
    const int64_t n = rows[r].n;
    if (ahead) Prefetch(from + ahead, n * stride);
    if (stride == 2 && n >= 8)
      CopyEven(from, n, to);
    else if (stride != 1)
      for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    else if (n >= kWidth)
      CopyWide<kWidth>(from, n, to);
    else if (kWidth > 8 && n >= 8)
      CopyWide<8>(from, n, to);
    else if (kWidth > 4 && n >= 4)
      CopyWide<4>(from, n, to);
    else
      for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

template <int W>
TK_INLINE VW<W> Finished(const float* in, const float* residual, const RowStore& s) {
  VW<W> v;
  memcpy(&v, in, sizeof(v));
  v += s.bias;
  if (residual) {
    VW<W> r;
    memcpy(&r, residual, sizeof(r));
    v += r;
  }
  const VW<W> low = s.low - VW<W>{}, high = s.high - VW<W>{};
  v = v < low ? low : v;
  return v > high ? high : v;
}

// Whole vectors, the last one overlapping the one before; n >= W. y may be the input or the
// residual: what the last one reads is read before it is written.
template <int W>
TK_INLINE void StoreWide(const float* in, const float* residual, const RowStore& s, int64_t n,
                         float* y) {
  const VW<W> last = Finished<W>(in + n - W, residual ? residual + n - W : nullptr, s);
  for (int64_t i = 0; i + W < n; i += W) {
    const VW<W> v = Finished<W>(in + i, residual ? residual + i : nullptr, s);
    memcpy(y + i, &v, sizeof(v));
  }
  memcpy(y + n - W, &last, sizeof(last));
}

void StoreRows(const RowCopy* rows, int64_t count, const float* in, const RowStore& s, float* y) {
  for (int64_t r = 0; r < count; ++r) {
    const float* from = in + rows[r].from;
    float* to = y + rows[r].to;
    const float* residual = s.residual ? s.residual + rows[r].to : nullptr;
    const int64_t n = rows[r].n;
    if (n >= kWidth)
      StoreWide<kWidth>(from, residual, s, n, to);
    else if (kWidth > 8 && n >= 8)
      StoreWide<8>(from, residual, s, n, to);
    else if (kWidth > 4 && n >= 4)
      StoreWide<4>(from, residual, s, n, to);
    else
      for (int64_t i = 0; i < n; ++i)
        StoreWide<1>(from + i, residual ? residual + i : nullptr, s, 1, to + i);
  }
}

constexpr int64_t kAhead = 1024;  // Elements of A between a prefetch and its use.

// As the micro-kernel of simd/gemm.cc, but that row k of B is wherever offsets[k] says.
template <int Rows, int Vectors>
void Direct(int64_t k, const float* a, const int32_t* offsets, const float* x, bool add, float* c,
            int64_t ldc) {
  Vec<float> acc[Rows][Vectors] = {};
  if (add) {
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      TK_UNROLL
      for (int j = 0; j < Vectors; ++j) acc[i][j] = Load(c + i * ldc + j * kWidth);
    }
  }
  for (int64_t p = 0; p < k; ++p, a += Rows) {
    __builtin_prefetch(a + kAhead);
    const float* b = x + offsets[p];
    Vec<float> bv[Vectors];
    TK_UNROLL
    for (int j = 0; j < Vectors; ++j) bv[j] = Load(b + j * kWidth);
    TK_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const Vec<float> av = Set1(a[i]);
      TK_UNROLL
      for (int j = 0; j < Vectors; ++j) acc[i][j] += av * bv[j];
    }
  }
  TK_UNROLL
  for (int i = 0; i < Rows; ++i) {
    TK_UNROLL
    for (int j = 0; j < Vectors; ++j) Store(c + i * ldc + j * kWidth, acc[i][j]);
  }
}

#if defined(__AVX512F__)
constexpr int kMaxRows = 14;
#elif defined(__AVX2__)
constexpr int kMaxRows = 6;
#elif defined(__aarch64__)
constexpr int kMaxRows = 12;
#else
constexpr int kMaxRows = 5;
#endif

template <int Rows = 1>
constexpr void Fill(ConvRows& table) {
  if constexpr (Rows <= kMaxRows) {
    table.direct[0][Rows] = Direct<Rows, 1>;
    table.direct[1][Rows] = Direct<Rows, 2>;
    Fill<Rows + 1>(table);
  }
}

constexpr ConvRows Table() {
  ConvRows table = {};
  table.lanes = kWidth;
  table.max_rows = kMaxRows;
  table.load = LoadRows;
  table.store = StoreRows;
  Fill(table);
  return table;
}

}  // namespace

extern const ConvRows conv_rows = Table();

}  // namespace toolkit::TOOLKIT_ISA_NS
