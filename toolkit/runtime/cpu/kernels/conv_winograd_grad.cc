// The gradient of Winograd's weights: the adjoint of the forward pass, point by point.
#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_winograd.h"
#include "kernels/conv_winograd_plan.h"
#include "simd/elementwise.h"

namespace toolkit {
namespace {

constexpr int64_t kGradientBlock = 64;     // Tiles summed in registers between updates of dU.
constexpr int64_t kPhaseBytes = 8 << 20;   // Transformed tiles that threads share.
constexpr int64_t kGroupBytes = 16 << 20;  // Of sums that are added up at the end.
constexpr int64_t kMostGroups = 16;

// The sums over tiles dU = (A dy A^T) (B^T x B)^T of one group, block after block.
class WeightSums {
 public:
  WeightSums(const WinogradPlan& plan, int64_t tiles)
      : p_(plan),
        tiles_(RoundUp(tiles, plan.lanes)),
        ld_(RoundUp(plan.s.in_channels, plan.nr)),
        step_(plan.s.out_channels * ld_ + kWinogradSkew),
        x_step_(ld_ * tiles_ + kWinogradSkew),
        dy_step_(plan.s.out_channels * tiles_ + kWinogradSkew),
        x_(plan.points * x_step_),
        dy_(plan.points * dy_step_) {}

  int64_t size() const { return p_.points * step_; }  // Of the sums of a group of blocks.

  void Add(int64_t begin, int64_t n, const float* x, const float* dy, bool first, float* sums) {
    Transform(begin, n, x, dy);
    const float beta = first ? 0.0f : 1.0f;
    ThreadPool::Global().ParallelFor(p_.panels.count * p_.points, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t r = i % p_.panels.count, m0 = p_.panels.begin(r);
        Multiply(r, i / p_.panels.count, RoundUp(n, p_.lanes), beta, sums + m0 * ld_, step_);
      }
    });
  }

  // From the sums of all groups, which come to stand in the first.
  void Finish(int64_t groups, float* sums, float* dw) const {
    ThreadPool::Global().ParallelFor(p_.s.out_channels, 1, [&](int64_t from, int64_t to) {
      const BinaryFn add =
          BinaryFunctions().fn[static_cast<int>(BinaryOp::kAdd)][static_cast<int>(Element::kF32)];
      const int64_t count = (to - from) * ld_;
      for (int64_t g = 1; g < groups; ++g)
        for (int64_t point = 0; point < p_.points; ++point) {
          float* total = sums + point * step_ + from * ld_;
          add(total, total, total + g * size(), count, 1, 1);
        }
      FinishRows(from, to, sums + from * ld_, step_, dw);
    });
  }

  // All in one where there is one block: the sums of a panel never leave the cache.
  void Run(int64_t tiles, const float* x, const float* dy, float* dw) {
    Transform(0, tiles, x, dy);
    const int64_t step = CeilDiv(p_.s.out_channels, p_.panels.count) * ld_ + kWinogradSkew;
    ThreadPool::Global().ParallelFor(p_.panels.count, 1, [&](int64_t from, int64_t to) {
      const FloatSpace sums(p_.points * step);
      for (int64_t r = from; r < to; ++r) {
        for (int64_t point = 0; point < p_.points; ++point)
          Multiply(r, point, RoundUp(tiles, p_.lanes), 0.0f, sums.data(), step);
        FinishRows(p_.panels.begin(r), p_.panels.begin(r + 1), sums.data(), step, dw);
      }
    });
  }

 private:
  static constexpr int64_t kRows = 16;

  void Transform(int64_t begin, int64_t n, const float* x, const float* dy) {
    const int64_t c_parts = ld_ / p_.nr, o_parts = CeilDiv(p_.s.out_channels, kRows);
    ThreadPool::Global().ParallelFor(c_parts + o_parts, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        i < c_parts ? TransformX(begin, n, i, x) : TransformDy(begin, n, i - c_parts, dy);
    });
  }

  // A panel's sums at one point, over `columns` tiles; `sums`: where the panel begins.
  void Multiply(int64_t r, int64_t point, int64_t columns, float beta, float* sums, int64_t step) {
    const int64_t m0 = p_.panels.begin(r), height = p_.panels.begin(r + 1) - m0;
    const GemmStore<float> store = {1.0f, beta, nullptr, nullptr};
    for (int64_t j = 0; j < ld_; j += p_.nr)
      p_.gemm.ukernel[1][0][height](columns, dy_.data() + point * dy_step_ + m0 * tiles_, tiles_,
                                    x_.data() + point * x_step_ + j * tiles_, p_.nr,
                                    sums + point * step + j, ld_, p_.nr, store);
  }

  // dw = G^T dU G of rows [from, to), whose sums begin at `sums`.
  void FinishRows(int64_t from, int64_t to, const float* sums, int64_t step, float* dw) const {
    const int64_t channels = p_.s.in_channels;
    std::vector<float> taps(9 * p_.lanes);
    for (int64_t o = from; o < to; ++o)
      for (int64_t c = 0; c < channels; c += p_.lanes) {
        p_.f.weight_gradient(sums + (o - from) * ld_ + c, step, taps.data());
        GemmTranspose<float>(9, std::min(p_.lanes, channels - c), taps.data(), p_.lanes, 9,
                             dw + (o * channels + c) * 9);
      }
  }

  // A panel of nr channels, transposed: [tile][channel].
  void TransformX(int64_t begin, int64_t n, int64_t panel, const float* x) {
    TileBlock block;
    block.Set(p_.in, begin, n, p_.lanes);
    const int64_t columns = RoundUp(n, p_.lanes), c0 = panel * p_.nr;
    const int64_t channels = std::min(p_.nr, p_.s.in_channels - c0);
    const int64_t step = channels * columns + kWinogradSkew;
    std::vector<float> scratch(block.size());
    const FloatSpace rows(p_.points * step);
    for (int64_t c = 0; c < channels; ++c) {
      ConvSimd().load(block.rows(), block.row_count(), 1, x + (c0 + c) * p_.s.in_count(),
                      c + kPlanesAhead < channels ? kPlanesAhead * p_.s.in_count() : 0,
                      scratch.data());
      for (int64_t j = 0; j < columns; j += p_.lanes)
        p_.f.input(scratch.data(), block.offsets(j), block.pitch(), rows.data() + c * columns + j,
                   step);
    }
    for (int64_t point = 0; point < p_.points; ++point)
      GemmTranspose<float>(channels, columns, rows.data() + point * step, columns, p_.nr,
                           x_.data() + point * x_step_ + c0 * tiles_);
  }

  void TransformDy(int64_t begin, int64_t n, int64_t part, const float* dy) {
    TileBlock block;
    block.Set(p_.out, begin, n, p_.lanes);
    const int64_t end = std::min((part + 1) * kRows, p_.s.out_channels);
    std::vector<float> scratch(block.size());
    for (int64_t o = part * kRows; o < end; ++o) {
      ConvSimd().load(block.rows(), block.row_count(), 1, dy + o * p_.s.out_count(),
                      o + kPlanesAhead < end ? kPlanesAhead * p_.s.out_count() : 0, scratch.data());
      for (int64_t j = 0; j < n; j += p_.lanes)
        p_.f.gradient(scratch.data(), block.offsets(j), block.pitch(), dy_.data() + o * tiles_ + j,
                      dy_step_);
    }
  }

  const WinogradPlan& p_;
  int64_t tiles_, ld_, step_, x_step_, dy_step_;
  FloatSpace x_, dy_;
};

}  // namespace

// Tiles in one block if their transforms are small, else in blocks. Groups of blocks, as many
// whatever the number of threads, are summed side by side, each in one thread and near its images;
// sums that are large have one group, whose products are shared out.
void WinogradWeightGradient(const ConvShape& s, int m, const float* x, const float* dy, float* dw) {
  const WinogradPlan p(s, m);
  const int64_t tiles = p.in.count();
  const int64_t bytes = p.points * (s.in_channels + s.out_channels) * tiles * 4;
  const int64_t block = bytes <= kPhaseBytes ? tiles : kGradientBlock;
  const int64_t blocks = CeilDiv(tiles, block), size = WeightSums(p, 1).size();
  int64_t groups = 1;
  while (groups * 2 <= kMostGroups && groups * 4 <= blocks && groups * size * 8 <= kGroupBytes)
    groups *= 2;
  const FloatSpace sums(blocks > 1 ? groups * size : 0);
  for (int64_t g = 0; g < s.group; ++g) {
    const float* gx = x + g * s.in_channels * s.in_count();
    const float* gdy = dy + g * s.out_channels * s.out_count();
    float* gdw = dw + g * s.out_channels * s.in_channels * 9;
    if (blocks == 1) {
      WeightSums(p, tiles).Run(tiles, gx, gdy, gdw);
      continue;
    }
    ThreadPool::Global().ParallelFor(groups, 1, [&](int64_t begin, int64_t end) {
      WeightSums work(p, block);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = blocks * i / groups;
        for (int64_t b = first; b < blocks * (i + 1) / groups; ++b)
          work.Add(b * block, std::min(block, tiles - b * block), gx, gdy, b == first,
                   sums.data() + i * size);
      }
    });
    WeightSums(p, 1).Finish(groups, sums.data(), gdw);
  }
}

}  // namespace toolkit
