#include "kernels/reduce.h"

#include <algorithm>
#include <limits>

#include "kernels/elementwise.h"

namespace toolkit {

ReducePlan::ReducePlan(const Shape& shape, const std::vector<bool>& reduced) {
  for (int i = 0; i < shape.rank(); ++i) {
    (reduced[i] ? count : outputs) *= shape[i];
    if (shape[i] == 1) continue;
    if (groups.empty() || groups.back().reduced != reduced[i])
      groups.push_back({shape[i], reduced[i]});
    else
      groups.back().size *= shape[i];
  }
}

std::vector<bool> AxesMask(const int64_t* axes, int64_t count, int rank) {
  std::vector<bool> mask(rank, false);
  for (int64_t i = 0; i < count; ++i) mask[NormalizeAxis(axes[i], rank)] = true;
  return mask;
}

Accumulator NeutralAccumulator(ReduceOp op, DType dtype) {
  Accumulator a;
  a.u = 0;
  const bool real = Contains(kFloats, dtype), is_signed = Contains(kSignedInts, dtype);
  const double inf = std::numeric_limits<double>::infinity();
  if (op == ReduceOp::kProd) {
    if (real)
      a.f = 1;
    else
      a.u = 1;
  } else if (op == ReduceOp::kMax) {
    if (real)
      a.f = -inf;
    else if (is_signed)
      a.i = std::numeric_limits<int64_t>::min() >> (64 - 8 * ItemSize(dtype));
  } else if (op == ReduceOp::kMin) {
    if (real)
      a.f = inf;
    else if (is_signed)
      a.i = std::numeric_limits<int64_t>::max() >> (64 - 8 * ItemSize(dtype));
    else
      a.u = dtype == DType::kBool
                ? 1
                : std::numeric_limits<uint64_t>::max() >> (64 - 8 * ItemSize(dtype));
  }
  return a;
}

namespace {

template <class V>
V JoinValues(ReduceOp op, V a, V b) {
  switch (op) {
    case ReduceOp::kMax:
      return b > a || b != b ? b : a;
    case ReduceOp::kMin:
      return b < a || b != b ? b : a;
    case ReduceOp::kProd:
      return a * b;
    default:
      return a + b;
  }
}
void Join(ReduceOp op, DType dtype, Accumulator& a, const Accumulator& b) {
  if (Contains(kFloats, dtype))
    a.f = JoinValues(op, a.f, b.f);
  else if (Contains(kSignedInts, dtype) && (op == ReduceOp::kMax || op == ReduceOp::kMin))
    a.i = JoinValues(op, a.i, b.i);
  else
    a.u = JoinValues(op, a.u, b.u);  // Wraps, whatever the sign.
}

// The result in the element type, divided for a mean.
void Finish(void* y, DType dtype, const Accumulator* acc, int64_t n, double divisor) {
  if (dtype == DType::kBool) dtype = DType::kUInt8;
  DispatchNumbers(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = static_cast<T*>(y);
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (std::is_floating_point_v<T>) {
        out[i] = static_cast<T>(divisor == 1 ? acc[i].f : acc[i].f / divisor);
      } else if constexpr (std::is_signed_v<T>) {
        const auto d = static_cast<int64_t>(divisor);
        out[i] = static_cast<T>(d == 1 ? acc[i].i : d ? acc[i].i / d : 0);
      } else {
        const auto d = static_cast<uint64_t>(divisor);
        out[i] = static_cast<T>(d == 1 ? acc[i].u : d ? acc[i].u / d : 0);
      }
    }
  });
}

// One reduced group: x is [outer, n, inner], y is [outer, inner].
struct OneGroup {
  KernelContext& c;
  ReduceOp op;
  DType dtype;
  const char* x;
  char* y;
  int64_t outer, n, inner;
  double divisor;

  size_t item() const { return ItemSize(dtype); }
  int op_index() const { return static_cast<int>(op); }
  int element() const { return static_cast<int>(ElementOf(dtype)); }

  static constexpr int64_t kTile = 256;
  template <class Table>
  auto Fn(const Table& table) const {
    const auto fn = table[op_index()][element()];
    TK_REQUIRE(fn, ErrorKind::kDType, "this reduction has no kernel for ", Name(dtype));
    return fn;
  }

  void Run() {
    constexpr int64_t kSplit = 1 << 16;  // Elements of one output (row) worth splitting.
    constexpr int64_t kEnough = 16;  // Outputs (or tiles of columns) that keep all threads busy.
    if (inner == 1) return outer < kEnough && n >= kSplit ? SplitRows() : Rows();
    const int64_t tiles = outer * ((inner + kTile - 1) / kTile);
    tiles < kEnough && n * std::min(inner, kTile) >= kSplit ? SplitColumns() : Columns();
  }

  void Rows() {
    const ReduceRowFn fn = Fn(Reductions().row);
    c.pool().ParallelFor(outer, std::max<int64_t>(1, 32768 / n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Accumulator a = NeutralAccumulator(op, dtype);
        fn(&a, x + static_cast<size_t>(i * n) * item(), n);
        Finish(y + static_cast<size_t>(i) * item(), dtype, &a, 1, divisor);
      }
    });
  }

  void SplitRows() {
    constexpr int64_t kBlock = 4 * kReduceBlock;
    const ReduceRowFn fn = Fn(Reductions().row);
    const int64_t blocks = (n + kBlock - 1) / kBlock;
    auto* parts = c.Scratch<Accumulator>(outer * blocks);
    c.pool().ParallelFor(outer * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / blocks, at = i % blocks * kBlock;
        parts[i] = NeutralAccumulator(op, dtype);
        fn(&parts[i], x + static_cast<size_t>(row * n + at) * item(), std::min(kBlock, n - at));
      }
    });
    for (int64_t row = 0; row < outer; ++row) {
      Accumulator a = parts[row * blocks];
      for (int64_t b = 1; b < blocks; ++b) Join(op, dtype, a, parts[row * blocks + b]);
      Finish(y + static_cast<size_t>(row) * item(), dtype, &a, 1, divisor);
    }
  }

  void Columns() {
    const ReduceColumnsFn fn = Fn(Reductions().columns);
    const int64_t tiles = (inner + kTile - 1) / kTile;
    const int64_t grain = std::max<int64_t>(1, 32768 / (n * std::min(inner, kTile)));
    c.pool().ParallelFor(outer * tiles, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / tiles, at = i % tiles * kTile, m = std::min(kTile, inner - at);
        Accumulator acc[kTile];
        std::fill_n(acc, m, NeutralAccumulator(op, dtype));
        fn(acc, x + static_cast<size_t>(row * n * inner + at) * item(), n, m, inner);
        Finish(y + static_cast<size_t>(row * inner + at) * item(), dtype, acc, m, divisor);
      }
    });
  }

  void SplitColumns() {
    const ReduceColumnsFn fn = Fn(Reductions().columns);
    // A function of the shape alone, so that the sums do not depend on the threads.
    const int64_t rows = (std::max<int64_t>(1, 16384 / inner) + kReduceRowBlock - 1) /
                         kReduceRowBlock * kReduceRowBlock;
    const int64_t blocks = (n + rows - 1) / rows;
    auto* parts = c.Scratch<Accumulator>(outer * blocks * inner);
    c.pool().ParallelFor(outer * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / blocks, at = i % blocks * rows;
        std::fill_n(parts + i * inner, inner, NeutralAccumulator(op, dtype));
        fn(parts + i * inner, x + static_cast<size_t>((row * n + at) * inner) * item(),
           std::min(rows, n - at), inner, inner);
      }
    });
    for (int64_t row = 0; row < outer; ++row) {
      Accumulator* sum = parts + row * blocks * inner;
      for (int64_t b = 1; b < blocks; ++b)
        for (int64_t j = 0; j < inner; ++j) Join(op, dtype, sum[j], sum[b * inner + j]);
      Finish(y + static_cast<size_t>(row * inner) * item(), dtype, sum, inner, divisor);
    }
  }
};

ReduceOp AfterFirst(ReduceOp op) {
  return op == ReduceOp::kSumSquare || op == ReduceOp::kSumAbs ? ReduceOp::kSum : op;
}

}  // namespace

void Reduce(KernelContext& c, ReduceOp op, const ReducePlan& plan, const void* x, DType dtype,
            void* y, double divisor) {
  if (plan.outputs == 0) return;
  if (plan.count == 0) {
    const std::vector<Accumulator> acc(static_cast<size_t>(plan.outputs),
                                       NeutralAccumulator(op, dtype));
    return Finish(y, dtype, acc.data(), plan.outputs, divisor);
  }
  std::vector<ReducePlan::Group> groups = plan.groups;
  int last = static_cast<int>(groups.size()) - 1;
  while (last >= 0 && !groups[last].reduced) --last;
  if (last < 0) {  // Nothing is combined, but |x| and x^2 are still taken.
    groups.push_back({1, true});
    last = static_cast<int>(groups.size()) - 1;
  }
  const void* from = x;
  // From the innermost reduced group outwards; all but the last result are temporary.
  for (;;) {
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < last; ++i) outer *= groups[i].size;
    for (size_t i = last + 1; i < groups.size(); ++i) inner *= groups[i].size;
    int next = last - 1;
    while (next >= 0 && !groups[next].reduced) --next;
    void* to =
        next < 0 ? y : c.Scratch<char>(outer * inner * static_cast<int64_t>(ItemSize(dtype)));
    OneGroup{c,
             op,
             dtype,
             static_cast<const char*>(from),
             static_cast<char*>(to),
             outer,
             groups[last].size,
             inner,
             next < 0 ? divisor : 1}
        .Run();
    if (next < 0) return;
    groups.erase(groups.begin() + last);
    last = next;
    op = AfterFirst(op);
    from = to;
  }
}

}  // namespace toolkit
