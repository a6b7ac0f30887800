// One matrix product a point of the transform: tiles are its rows and output channels its columns,
// so that no vector is left half empty, and the transformed weights, which fit no cache, are read
// in order, once for each block of tiles.
#include "kernels/conv_winograd.h"

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_winograd_plan.h"

namespace toolkit {
namespace {

constexpr int64_t kWeightDepth = 16;  // Channels of weights transformed at a time.
constexpr int64_t kDepth = 512;       // Channels of a product whose panels stay in L1 and L2.

// Transformed weights of a group: [point][panel of nr output channels][input channel][nr].
struct WeightLayout {
  explicit WeightLayout(const WinogradPlan& p)
      : panels(CeilDiv(p.s.out_channels, p.nr)),
        columns(panels * p.nr),
        step(columns * p.s.in_channels + kWinogradSkew),
        group(p.points * step) {}
  int64_t panels, columns, step, group;
};

// Tiles of a block: their transforms stay in L2, or weigh as much as the weights that they share.
// Several blocks are a number that threads can share out.
int64_t BlockTiles(const WinogradPlan& p) {
  constexpr int64_t kBytes = 1 << 19, kShares = 4;
  const int64_t channels = p.s.in_channels + p.s.out_channels;
  const int64_t tile = p.points * channels * 4;
  const int64_t weights = p.points * p.s.in_channels * p.s.out_channels * 4;
  const int64_t limit = std::max<int64_t>(p.gemm.mr, std::max(kBytes, weights) / tile);
  const int64_t blocks = CeilDiv(p.in.count(), limit);
  return CeilDiv(p.in.count(), blocks == 1 ? 1 : RoundUp(blocks, kShares));
}

// A block of tiles of one group.
class BlockWork {
 public:
  BlockWork(const WinogradPlan& plan, int64_t most)
      : p_(plan),
        w_(plan),
        ld_(RoundUp(plan.gemm.mr, plan.lanes)),
        v_panel_(ld_ * plan.s.in_channels),
        v_step_(CeilDiv(most, plan.gemm.mr) * v_panel_ + kWinogradSkew),
        m_step_(most * w_.columns + kWinogradSkew),
        v_(plan.points * v_step_),
        m_(plan.points * m_step_) {}

  void Set(int64_t begin, int64_t n) {
    tiles_ = n;
    rows_ = Panels(n, p_.gemm.mr);
    in_.Set(p_.in, begin, n, 1);
    out_.Set(p_.out, begin, n, 1);
    out_.Reverse();
    lanes_.clear();
    for (int64_t r = 0; r < rows_.count; ++r)  // Each panel's lanes, its last tile repeated.
      for (int64_t i = 0; i < ld_; ++i)
        lanes_.push_back(*in_.offsets(std::min(rows_.begin(r) + i, rows_.begin(r + 1) - 1)));
  }

  void Run(const float* x, const float* weights, int64_t first, const ConvEpilogue<float>& epilogue,
           float* y) {
    constexpr int64_t kChannels = 8;
    ThreadPool& pool = ThreadPool::Global();
    pool.ParallelFor(p_.s.in_channels, kChannels,
                     [&](int64_t begin, int64_t end) { Transform(x, begin, end); });
    const int64_t parts = std::clamp<int64_t>(4 * pool.num_threads() / p_.points, 1, w_.panels);
    pool.ParallelFor(p_.points * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        Multiply(i / parts, w_.panels * (i % parts) / parts, w_.panels * (i % parts + 1) / parts,
                 weights);
    });
    pool.ParallelFor(CeilDiv(p_.s.out_channels, p_.lanes), 1, [&](int64_t begin, int64_t end) {
      Finish(begin * p_.lanes, std::min(end * p_.lanes, p_.s.out_channels), first, epilogue, y);
    });
  }

 private:
  // v = B^T x B of channels [c0, c1): points x [panel of tiles][channel][ld].
  void Transform(const float* x, int64_t c0, int64_t c1) {
    std::vector<float> scratch(in_.size(), 0.0f);
    for (int64_t c = c0; c < c1; ++c) {
      ConvSimd().load(in_.rows(), in_.row_count(), 1, x + c * p_.s.in_count(),
                      c + kPlanesAhead < c1 ? kPlanesAhead * p_.s.in_count() : 0, scratch.data());
      for (int64_t r = 0; r < rows_.count; ++r)
        for (int64_t i = 0; i < ld_; i += p_.lanes)
          p_.f.input(scratch.data(), lanes_.data() + r * ld_ + i, in_.pitch(),
                     v_.data() + r * v_panel_ + c * ld_ + i, v_step_);
    }
  }

  // m (tiles, output channels) of a point, panels [j0, j1) of its columns.
  void Multiply(int64_t point, int64_t j0, int64_t j1, const float* weights) {
    const int64_t channels = p_.s.in_channels;
    const float* v = v_.data() + point * v_step_;
    float* m = m_.data() + point * m_step_;
    for (int64_t j = j0; j < j1; ++j)
      for (int64_t k0 = 0; k0 < channels; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, channels - k0);
        const float* panel = weights + point * w_.step + (j * channels + k0) * p_.nr;
        // The panel that comes next, a share with each product of this one.
        const char* next = reinterpret_cast<const char*>(panel + depth * p_.nr);
        const int64_t share = p_.nr * 4 / rows_.count;
        for (int64_t r = 0; r < rows_.count; ++r)
          p_.gemm.ukernel[0][0][rows_.begin(r + 1) - rows_.begin(r)](
              depth, v + r * v_panel_ + k0 * ld_, ld_, panel, p_.nr,
              m + rows_.begin(r) * w_.columns + j * p_.nr, w_.columns, p_.nr,
              {1.0f, k0 > 0 ? 1.0f : 0.0f, nullptr, nullptr, next + r * depth * share, share});
      }
  }

  // y = A^T m A of output channels [o0, o1), a vector of channels at a time.
  void Finish(int64_t o0, int64_t o1, int64_t first, const ConvEpilogue<float>& epilogue,
              float* y) {
    const int64_t size = out_.size();
    std::vector<int32_t> planes(p_.lanes);
    for (int64_t l = 0; l < p_.lanes; ++l) planes[l] = static_cast<int32_t>(l * size);
    std::vector<float> scratch(p_.lanes * size);
    for (int64_t o = o0; o < o1; o += p_.lanes) {
      for (int64_t t = 0; t < tiles_; ++t)
        p_.f.output(m_.data() + t * w_.columns + o, m_step_, planes.data(), out_.pitch(),
                    scratch.data() + *out_.offsets(t));
      for (int64_t l = 0; l < std::min(p_.lanes, o1 - o); ++l) {
        const int64_t channel = first + o + l;
        StoreChannel(out_.rows(), out_.row_count(), scratch.data() + l * size, epilogue, channel,
                     channel * p_.s.out_count(), y);
      }
    }
  }

  const WinogradPlan& p_;
  WeightLayout w_;
  int64_t tiles_ = 0;
  Panels rows_{0, 1};  // Of tiles.
  int64_t ld_, v_panel_, v_step_, m_step_;
  FloatSpace v_, m_;
  TileBlock in_, out_;
  std::vector<int32_t> lanes_;
};

// taps[(k * 9 + tap) * lanes + l] of output channels [o, o + rows) and input channels [k0, k0 +
// depth) of one group; zeros for l from `rows` up.
void GatherTaps(const ConvShape& s, bool adjoint, const float* w, int64_t o, int64_t rows,
                int64_t k0, int64_t depth, int64_t lanes, float* taps) {
  const int64_t k = s.in_channels;
  if (!adjoint)
    return GemmTranspose<float>(rows, depth * 9, w + (o * k + k0) * 9, k * 9, lanes, taps);
  for (int64_t d = 0; d < depth; ++d)
    GemmTranspose<float>(rows, 9, w + ((k0 + d) * s.out_channels + o) * 9, 9, lanes,
                         taps + d * 9 * lanes);
}

}  // namespace

int64_t WinogradWeightSize(const ConvShape& s, int m) {
  return s.group * WeightLayout(WinogradPlan(s, m)).group;
}

// A panel of output channels at a time: its taps by lanes, then the transform.
void WinogradWeights(const ConvShape& s, int m, bool adjoint, const float* w, float* packed) {
  const WinogradPlan p(s, m);
  const WeightLayout to(p);
  const int64_t k = s.in_channels, parts = CeilDiv(k, kWeightDepth);
  ThreadPool::Global().ParallelFor(s.group * to.panels * parts, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> taps(kWeightDepth * 9 * p.lanes);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t panel = task / parts % to.panels, g = task / parts / to.panels;
      const int64_t k0 = task % parts * kWeightDepth, depth = std::min(kWeightDepth, k - k0);
      const float* from = w + g * s.out_channels * k * 9;
      float* out = packed + g * to.group + (panel * k + k0) * p.nr;
      for (int64_t i = 0; i < p.nr; i += p.lanes) {
        const int64_t o = panel * p.nr + i;
        GatherTaps(s, adjoint, from, o, std::clamp<int64_t>(s.out_channels - o, 0, p.lanes), k0,
                   depth, p.lanes, taps.data());
        p.f.weights(depth, p.nr, adjoint, taps.data(), out + i, to.step);
      }
    }
  });
}

void WinogradForward(const ConvShape& s, int m, const float* x, const float* packed,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const WinogradPlan p(s, m);
  const int64_t tiles = p.in.count(), size = BlockTiles(p), blocks = CeilDiv(tiles, size);
  ThreadPool& pool = ThreadPool::Global();
  const auto run = [&](int64_t begin, int64_t end) {
    BlockWork work(p, std::min(size, tiles));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / blocks, t0 = i % blocks * size;
      work.Set(t0, std::min(size, tiles - t0));
      work.Run(x + g * s.in_channels * s.in_count(), packed + g * WeightLayout(p).group,
               g * s.out_channels, epilogue, y);
    }
  };
  // Enough blocks: each thread carries its own through, else all share each.
  if (s.group * blocks < 2 * pool.num_threads()) return run(0, s.group * blocks);
  pool.ParallelFor(s.group * blocks, 1, run);
}

}  // namespace toolkit
