#include "core/gemm.h"

#include <algorithm>
#include <type_traits>

#include "core/thread_pool.h"
#include "simd/gemm.h"

namespace toolkit {

namespace {

const GemmKernels<float>& KernelsOf(float) { return GemmSimd().f32; }
const GemmKernels<double>& KernelsOf(double) { return GemmSimd().f64; }
const GemmKernels<uint32_t>& KernelsOf(uint32_t) { return GemmSimd().u32; }
const GemmKernels<uint64_t>& KernelsOf(uint64_t) { return GemmSimd().u64; }

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// K is cut into blocks of nearly equal depth.
template <class T>
int64_t Depth(const GemmKernels<T>& kernels, int64_t k) {
  const int64_t blocks = std::max<int64_t>(1, CeilDiv(k, kernels.kc));
  return std::max<int64_t>(1, std::min(k, RoundUp(CeilDiv(k, blocks), 8)));
}

// M is cut into panels of nearly equal height, so that none is left with a few rows and threads
// have as many.
struct RowPanels {
  RowPanels(int64_t m, int mr) : m(m), count(CeilDiv(m, mr)) {
    if (count >= 4) count = RoundUp(count, count >= 16 ? 4 : 2);
  }
  int64_t begin(int64_t i) const { return m * i / count; }
  int64_t m, count;
};

constexpr int64_t kVectorWork = 64 * 1024;  // Multiply-adds with a vector for one thread.
constexpr int64_t kPageBytes = 4096;
constexpr int64_t kNearBytes =
    512;  // Between the rows of a transposed A that is read where it lies.
constexpr int64_t kRowBytes = 512 * 1024;  // Of A, in L2 while B passes.
constexpr int64_t kMaxRowBlock = 64;
constexpr int64_t kPagePanels = 64, kPageRows = 16;  // Of B, packed in one go.
constexpr int64_t kColumnBytes = 512 * 1024;  // Of B, in L2 while the panels of a packed A pass.

// How one call is carried out: decided once, shared by the threads.
template <class T>
struct Plan {
  const GemmArgs<T>& args;
  const GemmKernels<T>& kernels;
  int64_t threads;
  bool rows_first;  // A thread has all columns of some rows; else all rows of some columns.
  RowPanels rows;
  int64_t n_panels;
  int64_t depth;      // Of a block of K.
  bool direct_b;      // B is read where it lies: it is used too few times to be worth packing.
  bool pack_a;        // A's panels are packed just before use.
  int64_t row_block;  // Row panels that share a panel of B while it is in L1.
};

// A panel of A over one block of K, as a micro-kernel reads it.
template <class T>
struct PanelA {
  const T* data;
  int64_t ld;
  bool by_rows;
};

// `space`: mr x kc, where the panel is made if it does not lie anywhere.
template <class T>
PanelA<T> MakePanelA(const Plan<T>& plan, int64_t r, int64_t k0, int64_t kc, T* space) {
  const GemmArgs<T>& g = plan.args;
  const int64_t m0 = plan.rows.begin(r), height = plan.rows.begin(r + 1) - m0;
  if (g.packed_a) return {g.packed_a + k0 * g.m + m0 * kc, height, false};
  if (g.a_source) {
    g.a_source->Rows(m0, height, k0, kc, space);
    return {space, kc, true};
  }
  if (!plan.pack_a)
    return {g.trans_a ? g.a + k0 * g.lda + m0 : g.a + m0 * g.lda + k0, g.lda, !g.trans_a};
  if (g.trans_a)
    plan.kernels.pack_straight(height, kc, g.a + k0 * g.lda + m0, g.lda, height, space);
  else
    plan.kernels.pack_transposed(height, kc, g.a + m0 * g.lda + k0, g.lda, height, space);
  return {space, height, false};
}

// Row panels [r0, r1) x column panels [j0, j1) over K's block at k0. `b`: the packed columns.
// Panel by panel of B, so that one stays in L1 under all the rows; what the next products read
// (B's next panel, or A's when there is one) is asked for ahead.
template <class T>
void RunRows(const Plan<T>& plan, int64_t r0, int64_t r1, int64_t j0, int64_t j1, int64_t k0,
             int64_t kc, const T* b, T* a_space) {
  const GemmArgs<T>& g = plan.args;
  const GemmKernels<T>& kernels = plan.kernels;
  const int64_t nr = kernels.nr, n_end = std::min(g.n, j1 * nr);
  constexpr auto kItem = static_cast<int64_t>(sizeof(T));
  PanelA<T> panels[kMaxRowBlock];
  for (int64_t r = r0; r < r1; ++r)
    panels[r - r0] = MakePanelA(plan, r, k0, kc, a_space + (r - r0) * kernels.mr * kc);
  const bool last = k0 + kc >= g.k;
  GemmStore<T> store = {g.alpha, k0 == 0 ? g.beta : T(1), nullptr, nullptr};
  store.bounded = last && g.bounded;
  store.low = g.low, store.high = g.high;
  const int64_t calls = r1 - r0 > 1 ? r1 - r0 : j1 - j0;
  const int64_t height0 = plan.rows.begin(r0 + 1) - plan.rows.begin(r0);
  const bool alone = plan.rows.count == 1 && !g.packed_a;  // All rows are one panel.
  const bool ahead_b = g.packed_b && (r1 - r0 > 1 || alone), ahead_a = g.packed_a && r1 - r0 == 1;
  if (ahead_b) store.ahead_step = nr * kItem / (r1 - r0);
  if (ahead_a) store.ahead_step = height0 * kItem / calls;
  for (int64_t n0 = j0 * nr; n0 < n_end; n0 += nr) {
    const int64_t n = std::min(nr, n_end - n0);
    const bool direct = plan.direct_b && n == nr;
    const T* panel = direct ? g.b + k0 * g.ldb + n0 : b + (n0 - j0 * nr) * kc;
    store.col_bias = k0 == 0 && g.col_bias ? g.col_bias + n0 : nullptr;
    for (int64_t r = r0; r < r1; ++r) {
      const PanelA<T>& a = panels[r - r0];
      const int64_t m0 = plan.rows.begin(r), height = plan.rows.begin(r + 1) - m0;
      store.row_bias = k0 == 0 && g.row_bias ? g.row_bias + m0 : nullptr;
      store.add = last && g.add ? g.add + m0 * g.ldc + n0 : nullptr;
      if (ahead_b)
        store.ahead =
            reinterpret_cast<const char*>(panel + nr * kc) + (r - r0) * kc * store.ahead_step;
      if (ahead_a)
        store.ahead = reinterpret_cast<const char*>(a.data + height * kc) +
                      (n0 / nr - j0) * kc * store.ahead_step;
      kernels.ukernel[a.by_rows][n <= kernels.lanes][height](
          kc, a.data, a.ld, panel, direct ? g.ldb : nr, g.c + m0 * g.ldc + n0, g.ldc, n, store);
    }
  }
  if (!g.map || !last) return;
  for (int64_t i = plan.rows.begin(r0); i < plan.rows.begin(r1); ++i) {
    T* row = g.c + i * g.ldc + j0 * nr;
    g.map(row, row, n_end - j0 * nr, g.map_params);
  }
}

// Computes row panels [r0, r1) x column panels [j0, j1) of C. `b_space`: nc x kc, `a_space`: a
// block of row panels x kc.
template <class T>
void RunTile(const Plan<T>& plan, int64_t r0, int64_t r1, int64_t j0, int64_t j1, T* b_space,
             T* a_space) {
  const GemmArgs<T>& g = plan.args;
  const GemmKernels<T>& kernels = plan.kernels;
  const int64_t nr = kernels.nr, n_padded = plan.n_panels * nr;
  const int64_t n_end = std::min(g.n, j1 * nr);
  for (int64_t k0 = 0; k0 == 0 || k0 < g.k; k0 += plan.depth) {
    const int64_t kc = std::min(plan.depth, g.k - k0);
    const T* b = b_space;
    if (g.packed_b) {
      b = g.packed_b + k0 * n_padded + j0 * nr * kc;
    } else {
      for (int64_t n0 = j0 * nr; n0 < n_end; n0 += nr) {
        const int64_t n = std::min(nr, n_end - n0);
        T* out = b_space + (n0 - j0 * nr) * kc;
        if (g.b_source)
          g.b_source->Pack(k0, kc, n0, n, nr, out);
        else if (g.trans_b)
          kernels.pack_transposed(n, kc, g.b + n0 * g.ldb + k0, g.ldb, nr, out);
        else if (!plan.direct_b || n < nr)
          kernels.pack_straight(n, kc, g.b + k0 * g.ldb + n0, g.ldb, nr, out);
      }
    }
    for (int64_t r = r0; r < r1; r += plan.row_block)
      RunRows(plan, r, std::min(r1, r + plan.row_block), j0, j1, k0, kc, b, a_space);
  }
}

// One row of A: B is read once, as it lies. Chunks of N are fixed, so threads do not matter.
template <class T>
bool RunVector(const GemmArgs<T>& g, const GemmKernels<T>& kernels) {
  if (g.m != 1 || !g.b || g.k == 0 || !g.a || (g.trans_a && g.lda != 1)) return false;
  const int64_t grain = std::max<int64_t>(64, RoundUp(kVectorWork / g.k, 64));
  ThreadPool::Global().ParallelFor(g.n, grain, [&](int64_t begin, int64_t end) {
    T* y = g.c + begin;
    constexpr int64_t kSpan = 1024;
    T sums[kSpan];
    for (int64_t j = begin; j < end; j += kSpan, y += kSpan) {
      const int64_t n = std::min(kSpan, end - j);
      if (g.trans_b) {
        kernels.dot_rows(g.k, n, g.a, g.b + j * g.ldb, g.ldb, sums);
      } else {
        std::fill(sums, sums + n, T(0));
        kernels.axpy_rows(g.k, n, g.a, g.b + j, g.ldb, sums);
      }
      for (int64_t i = 0; i < n; ++i) {
        T v = g.alpha * sums[i];
        if (g.beta != T(0)) v += g.beta * y[i];
        if (g.row_bias) v += g.row_bias[0];
        if (g.col_bias) v += g.col_bias[j + i];
        if (g.add) v += g.add[j + i];
        if (g.bounded) v = v < g.low ? g.low : v > g.high ? g.high : v;
        y[i] = v;
      }
      if (g.map) g.map(y, y, n, g.map_params);
    }
  });
  return true;
}

// PackPanels of a B whose rows lie one after the other. A few rows pass through many panels at a
// time: the reads are then of whole pages, which the processor fetches ahead.
template <class T>
void PackRows(const GemmArgs<T>& g, const GemmKernels<T>& kernels, T* packed) {
  const int64_t nr = kernels.nr, panels = CeilDiv(g.n, nr), depth = Depth(kernels, g.k);
  const int64_t groups = CeilDiv(panels, kPagePanels);
  ThreadPool::Global().ParallelFor(groups * CeilDiv(g.k, kPageRows), 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t first = i % groups * kPagePanels,
                    k_end = std::min(g.k, (i / groups + 1) * kPageRows);
      for (int64_t k = i / groups * kPageRows, next; k < k_end; k = next) {
        const int64_t k0 = k / depth * depth, kc = std::min(depth, g.k - k0);
        next = std::min({k_end, k0 + depth});
        for (int64_t p = first; p < std::min(panels, first + kPagePanels); ++p)
          kernels.pack_straight(std::min(nr, g.n - p * nr), next - k, g.b + k * g.ldb + p * nr,
                                g.ldb, nr, packed + k0 * panels * nr + p * nr * kc + (k - k0) * nr);
      }
    }
  });
}

// Packs all of B, shared by tiles that differ in their rows only.
template <class T>
void PackPanels(const GemmArgs<T>& g, const GemmKernels<T>& kernels, T* packed) {
  const int64_t nr = kernels.nr, panels = CeilDiv(g.n, nr), depth = Depth(kernels, g.k);
  const int64_t k_blocks = CeilDiv(g.k, depth);
  if (!g.b_source && !g.trans_b) return PackRows(g, kernels, packed);
  ThreadPool::Global().ParallelFor(panels * k_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k0 = i / panels * depth, n0 = i % panels * nr;
      const int64_t kc = std::min(depth, g.k - k0), n = std::min(nr, g.n - n0);
      T* out = packed + k0 * panels * nr + n0 * kc;
      if (g.b_source)
        g.b_source->Pack(k0, kc, n0, n, nr, out);
      else
        kernels.pack_transposed(n, kc, g.b + n0 * g.ldb + k0, g.ldb, nr, out);
    }
  });
}

// A packed B is read from afar: as many rows as L2 holds use each of its panels in turn. Else the
// rows' panels take turns, under B in L2.
template <class T>
int64_t RowBlock(const GemmArgs<T>& g, const GemmKernels<T>& kernels, int64_t depth,
                 int64_t panels) {
  if (!g.packed_b || g.packed_a) return 1;
  const int64_t bytes = kernels.mr * depth * static_cast<int64_t>(sizeof(T));
  return std::clamp<int64_t>(kRowBytes / bytes, 1, std::min(panels, kMaxRowBlock));
}

// Splitting the rows of a packed B's product reads B once for each thread, but leaves the rows of A
// and C, which are most often images or words, to the thread that has them; kFewRows or more are
// enough work under each weight.
template <class T>
Plan<T> MakePlan(const GemmArgs<T>& g, const GemmKernels<T>& kernels) {
  constexpr int64_t kFewRows = 28;
  // A row or a column takes as long as several: it waits for the other operand.
  const int64_t work = std::max<int64_t>(g.m, 16) * std::max<int64_t>(g.n, 16) * g.k;
  const bool small = work <= kParallelWork;
  const int64_t threads = small ? 1 : ThreadPool::Global().num_threads();
  const bool rows_first =
      threads > 1 && (g.packed_a ? g.m >= 2 * g.n : g.packed_b && g.m >= kFewRows * threads);
  const RowPanels rows(g.m, kernels.mr);
  const int64_t n_panels = CeilDiv(g.n, kernels.nr), depth = Depth(kernels, g.k);
  const bool direct_b = g.b && !g.packed_b && !g.trans_b && (rows.count <= 2 || g.packed_a);
  // Rows a multiple of a page apart fall into the same sets of L1; a transposed A touches a page
  // for each k.
  const int64_t stride = g.lda * static_cast<int64_t>(sizeof(T));
  const bool pack_a = g.a && g.k > 16 && n_panels > 2 &&
                      ((g.trans_a && stride > kNearBytes) || (stride % kPageBytes == 0 && g.m > 4));
  return {g,        kernels, threads,  rows_first, rows,
          n_panels, depth,   direct_b, pack_a,     RowBlock(g, kernels, depth, rows.count)};
}

// Tiles of C, taken by threads in the order that leaves neighbours to one thread.
struct Tiles {
  int64_t m, n;
};

// But for rows first, N is split first (a tile of more rows reuses its B), then M when B needs no
// packing or N is too narrow.
template <class T>
Tiles ChooseTiles(const Plan<T>& plan) {
  const GemmArgs<T>& g = plan.args;
  const int64_t n = CeilDiv(plan.n_panels, plan.kernels.nc / plan.kernels.nr);
  const int64_t threads = plan.threads;
  if (threads == 1) return {1, n};
  if (g.packed_a) {
    const int64_t panel = plan.depth * plan.kernels.nr * static_cast<int64_t>(sizeof(T));
    const int64_t fit = CeilDiv(plan.n_panels, std::max<int64_t>(1, kColumnBytes / panel));
    if (plan.rows_first) return {std::min(plan.rows.count, 4 * threads), fit};
    const int64_t parts = std::min(plan.n_panels, RoundUp(std::max(fit, 2 * threads), threads));
    return {parts < threads ? std::min(plan.rows.count, threads) : 1, parts};
  }
  if (plan.rows_first) return {threads, std::max(n, std::min<int64_t>(plan.n_panels, 4))};
  // Splitting N reads A again for each tile, splitting M packs B for all: whichever moves less.
  const bool split_m =
      !g.packed_b && g.m * (2 * threads - 1) > 2 * g.n && plan.rows.count >= 4 * threads;
  Tiles tiles = {1, n};
  if (!g.a_source && !split_m)
    tiles.n = std::max(n, std::min(plan.n_panels, (plan.direct_b ? 4 : 2) * threads));
  const int64_t wanted = (plan.direct_b ? 8 : 2) * threads;
  if (tiles.n >= wanted) return tiles;
  tiles.m = CeilDiv(wanted, tiles.n);
  if (tiles.n % threads != 0) tiles.m = RoundUp(tiles.m, threads);
  tiles.m = std::min(plan.rows.count, tiles.m);
  return tiles;
}

// The tiles that the threads share out, each with its workspace.
template <class T>
void RunTiles(const Plan<T>& plan) {
  const GemmArgs<T>& g = plan.args;
  const GemmKernels<T>& kernels = plan.kernels;
  const Tiles tiles = ChooseTiles(plan);
  if (tiles.m > 1 && !g.packed_b && !plan.direct_b) {
    const auto size = static_cast<size_t>(plan.n_panels * kernels.nr * g.k);
    const std::shared_ptr<Buffer> packed = Buffer::Allocate(size * sizeof(T));
    GemmArgs<T> shared = g;
    shared.packed_b = reinterpret_cast<const T*>(packed->data());
    PackPanels(g, kernels, reinterpret_cast<T*>(packed->data()));
    return RunTiles(MakePlan(shared, kernels));
  }
  const int64_t kc = std::min(plan.depth, g.k);
  const int64_t b_columns = g.packed_b ? 0 : CeilDiv(plan.n_panels, tiles.n) * kernels.nr;
  const int64_t b_count = RoundUp(b_columns * kc, 16);
  const int64_t a_count =
      plan.pack_a || g.a_source ? RoundUp(plan.row_block * kernels.mr * kc, 16) : 0;
  const auto work = [&](int64_t begin, int64_t end) {
    std::shared_ptr<Buffer> space;
    if (a_count + b_count > 0)
      space = Buffer::Allocate(static_cast<size_t>(a_count + b_count) * sizeof(T));
    T* b_space = space ? reinterpret_cast<T*>(space->data()) : nullptr;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t tn = plan.rows_first ? t % tiles.n : t / tiles.m;
      const int64_t tm = plan.rows_first ? t / tiles.n : t % tiles.m;
      RunTile(plan, plan.rows.count * tm / tiles.m, plan.rows.count * (tm + 1) / tiles.m,
              plan.n_panels * tn / tiles.n, plan.n_panels * (tn + 1) / tiles.n, b_space,
              b_space + b_count);
    }
  };
  if (plan.threads == 1)
    work(0, tiles.m * tiles.n);
  else
    ThreadPool::Global().ParallelFor(tiles.m * tiles.n, 1, work);
}

template <class T>
void Run(const GemmArgs<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  const GemmKernels<T>& kernels = KernelsOf(T());
  if (RunVector(g, kernels)) return;
  if (g.n == 1 && g.ldc == 1 && g.a && g.b && g.k > 0 && (g.trans_b || g.ldb == 1)) {
    // A column of C: the transposed product has one row.
    GemmArgs<T> t = g;
    std::swap(t.m, t.n);
    std::swap(t.a, t.b);
    t.trans_a = false;
    t.lda = g.k;
    t.ldb = g.lda;
    t.trans_b = !g.trans_a;
    t.ldc = g.m;
    std::swap(t.row_bias, t.col_bias);
    if (RunVector(t, kernels)) return;
  }
  RunTiles(MakePlan(g, kernels));
}

template <class T>
using Unsigned =
    std::conditional_t<std::is_floating_point_v<T>, T,
                       std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;  // Signed overflow
                                                                                 // is not defined.

}  // namespace

template <class T>
void Gemm(const GemmArgs<T>& g) {
  using U = Unsigned<T>;
  if constexpr (std::is_same_v<T, U>) {
    Run(g);
  } else {
    const auto cast = [](const T* p) { return reinterpret_cast<const U*>(p); };
    GemmArgs<U> u = {g.m, g.n, g.k};
    u.a = cast(g.a), u.lda = g.lda, u.trans_a = g.trans_a, u.packed_a = cast(g.packed_a);
    u.b = cast(g.b), u.ldb = g.ldb, u.trans_b = g.trans_b, u.packed_b = cast(g.packed_b);
    u.c = reinterpret_cast<U*>(g.c), u.ldc = g.ldc;
    u.alpha = static_cast<U>(g.alpha), u.beta = static_cast<U>(g.beta);
    u.row_bias = cast(g.row_bias), u.col_bias = cast(g.col_bias);
    Run(u);
  }
}

template <class T>
int64_t PackedGemmASize(int64_t m, int64_t k) {
  return m * k;
}

template <class T>
int64_t PackedGemmBSize(int64_t k, int64_t n) {
  return RoundUp(n, KernelsOf(Unsigned<T>()).nr) * k;
}

template <class T>
void PackGemmA(int64_t m, int64_t k, const PanelSource<T>& source, T* packed) {
  const auto& kernels = KernelsOf(Unsigned<T>());
  const RowPanels rows(m, kernels.mr);
  const int64_t depth = Depth(kernels, k), k_blocks = CeilDiv(k, depth);
  ThreadPool::Global().ParallelFor(rows.count * k_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t r = i % rows.count, k0 = i / rows.count * depth;
      const int64_t kc = std::min(depth, k - k0);
      const int64_t m0 = rows.begin(r), height = rows.begin(r + 1) - m0;
      source.Pack(k0, kc, m0, height, height, packed + k0 * m + m0 * kc);
    }
  });
}

namespace {

template <class T>
class MatrixRows : public PanelSource<T> {
 public:
  MatrixRows(bool trans, const T* a, int64_t lda) : trans_(trans), a_(a), lda_(lda) {}
  void Pack(int64_t k0, int64_t kc, int64_t m0, int64_t rows, int64_t width,
            T* out) const override {
    using U = Unsigned<T>;
    const GemmKernels<U>& kernels = KernelsOf(U());
    const U* a = reinterpret_cast<const U*>(a_);
    U* to = reinterpret_cast<U*>(out);
    if (trans_)
      kernels.pack_straight(rows, kc, a + k0 * lda_ + m0, lda_, width, to);
    else
      kernels.pack_transposed(rows, kc, a + m0 * lda_ + k0, lda_, width, to);
  }

 private:
  bool trans_;
  const T* a_;
  int64_t lda_;
};

}  // namespace

template <class T>
void PackGemmA(bool trans_a, int64_t m, int64_t k, const T* a, int64_t lda, T* packed) {
  PackGemmA<T>(m, k, MatrixRows<T>(trans_a, a, lda), packed);
}

template <class T>
void PackGemmB(bool trans_b, int64_t k, int64_t n, const T* b, int64_t ldb, T* packed) {
  using U = Unsigned<T>;
  const GemmKernels<U>& kernels = KernelsOf(U());
  GemmArgs<U> g;
  g.n = n, g.k = k, g.ldb = ldb, g.trans_b = trans_b;
  g.b = reinterpret_cast<const U*>(b);
  PackPanels(g, kernels, reinterpret_cast<U*>(packed));
}

template <class T>
void GemmTranspose(int64_t rows, int64_t columns, const T* x, int64_t ld, int64_t width, T* out) {
  using U = Unsigned<T>;
  KernelsOf(U()).pack_transposed(rows, columns, reinterpret_cast<const U*>(x), ld, width,
                                 reinterpret_cast<U*>(out));
}

#define TK_GEMM(T)                                                           \
  template void Gemm<T>(const GemmArgs<T>&);                                 \
  template int64_t PackedGemmASize<T>(int64_t, int64_t);                     \
  template int64_t PackedGemmBSize<T>(int64_t, int64_t);                     \
  template void PackGemmA<T>(bool, int64_t, int64_t, const T*, int64_t, T*); \
  template void PackGemmA<T>(int64_t, int64_t, const PanelSource<T>&, T*);   \
  template void PackGemmB<T>(bool, int64_t, int64_t, const T*, int64_t, T*); \
  template void GemmTranspose<T>(int64_t, int64_t, const T*, int64_t, int64_t, T*);
TK_GEMM(float)
TK_GEMM(double)
TK_GEMM(int32_t)
TK_GEMM(int64_t)
TK_GEMM(uint32_t)
TK_GEMM(uint64_t)
#undef TK_GEMM

}  // namespace toolkit
