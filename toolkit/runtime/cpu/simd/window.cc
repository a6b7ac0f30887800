#include "simd/window.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T, int K>
TK_INLINE void InterleaveRows(int64_t n, const T* rows, int64_t ld, T add, T* out) {
  TK_IVDEP
  for (int64_t j = 0; j < n; ++j)
    for (int b = 0; b < K; ++b) out[j * K + b] = rows[b * ld + j] + add;
}

template <class T>
void Interleave(int64_t k, int64_t n, const T* rows, int64_t ld, T add, T* out) {
  if (k == 2) return InterleaveRows<T, 2>(n, rows, ld, add, out);
  if (k == 4) return InterleaveRows<T, 4>(n, rows, ld, add, out);
  for (int64_t b = 0; b < k; ++b)
    for (int64_t j = 0; j < n; ++j) out[j * k + b] = rows[b * ld + j] + add;
}

template <class T>
void AxpyBack(int64_t n, T w, const T* y, T* x, int64_t stride) {
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) x[i] += w * y[i];
  else
    for (int64_t i = 0; i < n; ++i) x[i * stride] += w * y[i];
}

template <class T>
T Dot(int64_t n, const T* y, const T* x, int64_t stride) {
  constexpr int kWidth = kLanes<T>;
  int64_t i = 0;
  T sum = T(0);
  if (stride == 1 && n >= kWidth) {
    Vec<T> acc = {};
    for (; i + kWidth <= n; i += kWidth) acc += Load(y + i) * Load(x + i);
    for (int j = 0; j < kWidth; ++j) sum += acc[j];
  }
  for (; i < n; ++i) sum += y[i] * x[i * stride];
  return sum;
}

#define TK_UNROLL _Pragma("GCC unroll 64")

template <class T, int W>
using VecW = typename VecOf<T, W>::type;

// p[0], p[stride], ...: reads nothing beyond the last of them. Stride 0: `stride` at run time.
template <class T, int W, int Stride>
TK_INLINE VecW<T, W> LoadStep(const T* p, int64_t stride) {
  VecW<T, W> a, b;
  if constexpr (Stride == 1 || W == 1) {
    memcpy(&a, p, sizeof(a));
    return a;
  } else if constexpr (Stride == 2) {
    memcpy(&a, p, sizeof(a));
    memcpy(&b, p + W - 1, sizeof(b));
    if constexpr (W == 16)
      return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29,
                                     31);
    else if constexpr (W == 8)
      return __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15);
    else if constexpr (W == 4)
      return __builtin_shufflevector(a, b, 0, 2, 5, 7);
    else
      return __builtin_shufflevector(a, b, 0, 3);
  } else {
    TK_UNROLL
    for (int i = 0; i < W; ++i) a[i] = p[i * stride];
    return a;
  }
}

// Accumulators of one vector of outputs.
template <class T, int W>
struct ConvSum {
  using V = VecW<T, W>;
  TK_INLINE void Start(T init) { sum = init - V{}; }
  TK_INLINE void Step(V x, V w, int32_t) { sum += w * x; }
  TK_INLINE void End(T* y, int32_t*) const { memcpy(y, &sum, sizeof(sum)); }
  V sum;
};

template <class T, int W>
struct PlainSum {
  using V = VecW<T, W>;
  TK_INLINE void Start(T) { sum = V{}; }
  TK_INLINE void Step(V x, V, int32_t) { sum += x; }
  TK_INLINE void End(T* y, int32_t*) const { memcpy(y, &sum, sizeof(sum)); }
  V sum;
};

template <class T, int W>
struct Largest {
  using V = VecW<T, W>;
  TK_INLINE void Start(T) { best = -__builtin_inf() - V{}; }
  TK_INLINE void Step(V x, V, int32_t) { best = ((x > best) | (x != x)) ? x : best; }
  TK_INLINE void End(T* y, int32_t*) const { memcpy(y, &best, sizeof(best)); }
  V best;
};

template <class T, int W>
struct FirstLargest {
  using V = VecW<T, W>;
  using I = decltype(V{} > V{});
  TK_INLINE void Start(T) {
    best = -__builtin_inf() - V{};
    tap = I{};
  }
  TK_INLINE void Step(V x, V, int32_t number) {
    const I takes = (x > best) | ((x != x) & (best == best));
    best = takes ? x : best;
    tap = takes ? number - I{} : tap;
  }
  TK_INLINE void End(T* y, int32_t* taps) const {
    memcpy(y, &best, sizeof(best));
    for (int i = 0; i < W; ++i) taps[i] = static_cast<int32_t>(tap[i]);
  }
  V best;
  I tap;
};

// `Vectors` vectors of outputs from column `at` on; the last one ends at column n.
template <template <class, int> class Op, class T, int W, int Vectors, int Stride>
TK_INLINE void TapsBlock(const TapRow<T>& row, T init, int64_t at, T* y, int32_t* tap) {
  const int64_t stride = Stride ? Stride : row.stride;
  int64_t column[Vectors];
  Op<T, W> acc[Vectors];
  TK_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    column[v] = at + v * W < row.n - W ? at + v * W : row.n - W;
    acc[v].Start(init);
  }
  int32_t number = 0;
  for (int r = 0; r < row.rows; ++r) {
    const T* from = row.x[r];
    for (int64_t t = 0; t < row.taps; ++t, from += row.dilation, ++number) {
      VecW<T, W> w = {};
      if (row.w) w = row.w[r][t] - w;
      TK_UNROLL
      for (int v = 0; v < Vectors; ++v)
        acc[v].Step(LoadStep<T, W, Stride>(from + stride * column[v], stride), w, number);
    }
  }
  TK_UNROLL
  for (int v = 0; v < Vectors; ++v) acc[v].End(y + column[v], tap + column[v]);
}

template <template <class, int> class Op, class T, int W, int Stride>
TK_INLINE void TapsWidth(const TapRow<T>& row, T init, T* y, int32_t* tap) {
  int64_t i = 0;
  if (W == kLanes<T>)
    for (; i + 2 * W < row.n; i += 4 * W) TapsBlock<Op, T, W, 4, Stride>(row, init, i, y, tap);
  for (; i < row.n; i += W) TapsBlock<Op, T, W, 1, Stride>(row, init, i, y, tap);
}

template <template <class, int> class Op, class T, int Stride>
TK_INLINE void TapsStride(const TapRow<T>& row, T init, T* y, int32_t* tap) {
  constexpr int kWidth = kLanes<T>;
  if (row.n >= kWidth)
    TapsWidth<Op, T, kWidth, Stride>(row, init, y, tap);
  else if (kWidth > 8 && row.n >= 8)
    TapsWidth<Op, T, 8, Stride>(row, init, y, tap);
  else if (kWidth > 4 && row.n >= 4)
    TapsWidth<Op, T, 4, Stride>(row, init, y, tap);
  else
    TapsWidth<Op, T, 1, Stride>(row, init, y, tap);
}

template <template <class, int> class Op, class T>
TK_INLINE void RunTaps(const TapRow<T>& row, T init, T* y, int32_t* tap) {
  if (row.n <= 0) return;
  if (row.stride == 1)
    TapsStride<Op, T, 1>(row, init, y, tap);
  else if (row.stride == 2)
    TapsStride<Op, T, 2>(row, init, y, tap);
  else
    TapsStride<Op, T, 0>(row, init, y, tap);
}

template <class T>
void Taps(const TapRow<T>& row, T init, T* y) {
  RunTaps<ConvSum>(row, init, y, static_cast<int32_t*>(nullptr));
}

template <class T>
void SumTaps(const TapRow<T>& row, T* y) {
  RunTaps<PlainSum>(row, T(0), y, static_cast<int32_t*>(nullptr));
}

template <class T>
void MaxTaps(const TapRow<T>& row, T* y) {
  RunTaps<Largest>(row, T(0), y, static_cast<int32_t*>(nullptr));
}

template <class T>
void ArgMaxTaps(const TapRow<T>& row, T* y, int32_t* tap) {
  RunTaps<FirstLargest>(row, T(0), y, tap);
}

template <class T, int W, int Stride>
TK_INLINE int64_t DotWidth(const TapRow<T>& row, int64_t i, const T* x, const T* y, T* acc) {
  if (i + W > row.n) return i;
  VecW<T, W> sum, yv;
  memcpy(&sum, acc, sizeof(sum));
  for (; i + W <= row.n; i += W) {
    memcpy(&yv, y + i, sizeof(yv));
    sum += yv * LoadStep<T, W, Stride>(x + i * (Stride ? Stride : row.stride), row.stride);
  }
  memcpy(acc, &sum, sizeof(sum));
  return i;
}

template <class T, int Stride>
TK_INLINE void DotTapsStride(const TapRow<T>& row, const T* y, T* acc) {
  constexpr int kWidth = kLanes<T>;
  for (int r = 0; r < row.rows; ++r) {
    for (int64_t t = 0; t < row.taps; ++t, acc += kWidth) {
      const T* x = row.x[r] + t * row.dilation;
      int64_t i = DotWidth<T, kWidth, Stride>(row, 0, x, y, acc);
      if (kWidth > 8) i = DotWidth<T, 8, Stride>(row, i, x, y, acc);
      if (kWidth > 4) i = DotWidth<T, 4, Stride>(row, i, x, y, acc);
      for (; i < row.n; ++i) acc[0] += y[i] * x[i * row.stride];
    }
  }
}

template <class T>
void DotTaps(const TapRow<T>& row, const T* y, T* acc) {
  if (row.stride == 1)
    DotTapsStride<T, 1>(row, y, acc);
  else if (row.stride == 2)
    DotTapsStride<T, 2>(row, y, acc);
  else
    DotTapsStride<T, 0>(row, y, acc);
}

template <class T>
TK_INLINE T Larger(T a, T b) {
  return (b > a) | (b != b) ? b : a;
}

// 4 x lanes partial sums.
template <class T>
T RowSum(int64_t n, const T* x) {
  constexpr int kWidth = kLanes<T>;
  Vec<T> acc[4] = {};
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
    for (int u = 0; u < 4; ++u) acc[u] += Load(x + i + u * kWidth);
  const Vec<T> v = (acc[0] + acc[1]) + (acc[2] + acc[3]);
  T sum = T(0);
  for (int j = 0; j < kWidth; ++j) sum += v[j];
  for (; i < n; ++i) sum += x[i];
  return sum;
}

template <class T>
T RowMax(int64_t n, const T* x) {
  constexpr int kWidth = 2 * kLanes<T>;
  T best[kWidth];
  for (int j = 0; j < kWidth; ++j) best[j] = x[0];
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth)
    for (int j = 0; j < kWidth; ++j) best[j] = Larger(best[j], x[i + j]);
  for (; i < n; ++i) best[0] = Larger(best[0], x[i]);
  for (int j = 1; j < kWidth; ++j) best[0] = Larger(best[0], best[j]);
  return best[0];
}

// A copy of a fixed number of bytes from under each tap to the row of that tap.
struct Piece {
  int64_t from, to;  // In elements.
};

constexpr int kSpan = 64;       // Positions done at a time.
constexpr int kPieceSizes = 5;  // 64, 32, ... 4 bytes.

// Runs of positions within one innermost row, as pieces: the end of a run is a piece that overlaps
// the one before, so that no single elements are left.
struct Pieces {
  Piece list[kPieceSizes][2 * kSpan];
  int count[kPieceSizes];

  TK_INLINE void Add(int64_t from, int64_t to, int64_t length, int64_t item) {
    int size = 0;
    int64_t bytes = 64;
    while (bytes > kVectorBytes || bytes > length * item) {
      bytes /= 2;
      ++size;
    }
    const int64_t step = bytes / item;
    for (int64_t i = 0; i < length; i += step) {
      const int64_t at = i + step <= length ? i : length - step;
      list[size][count[size]++] = {from + at, to + at};
    }
  }
};

template <int Bytes, class T>
TK_INLINE void CopyPieces(const Pieces& pieces, int size, const T* x, T* out) {
  for (int i = 0; i < pieces.count[size]; ++i) {
    char block[Bytes];
    memcpy(block, x + pieces.list[size][i].from, Bytes);
    memcpy(out + pieces.list[size][i].to, block, Bytes);
  }
}

// Calls run(x under the tap, row of out) for each tap k.
template <class T, class Fn>
TK_INLINE void ForEachTap(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t width,
                          T* out, Fn&& run) {
  int64_t step[kMaxSpatialRank], plane = 1, tap[kMaxSpatialRank], rest = k0;
  for (int d = w.rank - 1; d >= 0; --d) {
    step[d] = plane * w.dilation[d];
    plane *= w.in[d];
    tap[d] = rest % w.kernel[d];
    rest /= w.kernel[d];
  }
  x += rest * plane;
  for (int d = 0; d < w.rank; ++d) x += tap[d] * step[d];
  for (int64_t k = 0; k < kc; ++k, out += width) {
    run(x, out);
    int d = w.rank - 1;
    for (; d >= 0; --d) {
      x += step[d];
      if (++tap[d] < w.kernel[d]) break;
      x -= w.kernel[d] * step[d];
      tap[d] = 0;
    }
    if (d < 0) x += plane;
  }
}

template <class T>
void Im2ColSpan(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t p0, int64_t n,
                int64_t width, T* out) {
  const int last = w.rank - 1;
  const int64_t columns = w.out[last], stride = w.stride[last];
  Pieces pieces;
  for (int i = 0; i < kPieceSizes; ++i) pieces.count[i] = 0;
  int64_t runs[kSpan][3];  // From, to, length; for strides other than 1.
  int run_count = 0;
  for (int64_t at = 0; at < n;) {
    int64_t row = (p0 + at) / columns, plane = w.in[last];
    const int64_t column = (p0 + at) % columns;
    const int64_t length = columns - column < n - at ? columns - column : n - at;
    int64_t from = column * stride;
    for (int d = last - 1; d >= 0; --d) {
      from += row % w.out[d] * w.stride[d] * plane;
      row /= w.out[d];
      plane *= w.in[d];
    }
    if (stride == 1) {
      pieces.Add(from, at, length, sizeof(T));
    } else {
      runs[run_count][0] = from;
      runs[run_count][1] = at;
      runs[run_count++][2] = length;
    }
    at += length;
  }
  if (stride == 1) {
    ForEachTap(w, x, k0, kc, width, out, [&](const T* tap, T* row) {
      if (kVectorBytes >= 64) CopyPieces<64>(pieces, 0, tap, row);
      if (kVectorBytes >= 32) CopyPieces<32>(pieces, 1, tap, row);
      CopyPieces<16>(pieces, 2, tap, row);
      CopyPieces<8>(pieces, 3, tap, row);
      if (sizeof(T) <= 4) CopyPieces<4>(pieces, 4, tap, row);
    });
    return;
  }
  constexpr int kWidth = kLanes<T>;
  ForEachTap(w, x, k0, kc, width, out, [&](const T* tap, T* row) {
    for (int r = 0; r < run_count; ++r) {
      const T* from = tap + runs[r][0];
      T* to = row + runs[r][1];
      const int64_t length = runs[r][2];
      int64_t i = 0;
      if (stride == 2 && length >= kWidth) {
        for (; i + kWidth <= length; i += kWidth)
          Store(to + i, LoadStep<T, kWidth, 2>(from + 2 * i, 2));
        i = length - kWidth;
        Store(to + i, LoadStep<T, kWidth, 2>(from + 2 * i, 2));
        continue;
      }
      for (; i < length; ++i) to[i] = from[i * stride];
    }
  });
}

template <class T>
void Im2Col(const Window& w, const T* x, int64_t k0, int64_t kc, int64_t p0, int64_t n,
            int64_t width, T* out) {
  for (int64_t at = 0; at < n; at += kSpan) {
    const int64_t span = n - at < kSpan ? n - at : kSpan;
    Im2ColSpan(w, x, k0, kc, p0 + at, span, width, out + at);
  }
}

template <class T>
constexpr WindowRows<T> Rows() {
  return {Interleave<T>, AxpyBack<T>, Dot<T>,    Taps<T>,   SumTaps<T>, MaxTaps<T>,
          ArgMaxTaps<T>, DotTaps<T>,  kLanes<T>, RowSum<T>, RowMax<T>,  Im2Col<T>};
}

}  // namespace

extern const WindowTable window_table = {Rows<float>(), Rows<double>()};

}  // namespace toolkit::TOOLKIT_ISA_NS
