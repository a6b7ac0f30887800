// One matrix product a point of the transform: tiles are its rows and output channels its columns,
// so that no vector is left half empty, and the transformed weights, which fit no cache, are read
// in order, once for each block of tiles. Threads share no workspace: on cores without a common
// cache, writing what another has read costs more than doing the work of both. Each has blocks of
// its own or, of too few tiles, a share of the output channels over transforms of its own.
#include "kernels/conv_winograd.h"

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_winograd_plan.h"

namespace toolkit {
namespace {

constexpr int64_t kWeightDepth = 16;      // Channels of weights transformed at a time.
constexpr int64_t kOnceBytes = 16 << 20;  // Beyond it transformed weights leave L3.
constexpr int64_t kDepth = 512;           // Channels of a product whose panels stay in L1 and L2.

// Transformed weights of a group: [panel of nr output channels][point][input channel][nr].
struct WeightLayout {
  explicit WeightLayout(const WinogradPlan& p)
      : panels(CeilDiv(p.s.out_channels, p.nr)),
        step(p.nr * p.s.in_channels + kWinogradSkew),
        panel(p.points * step),
        group(panels * panel) {}
  int64_t panels, step, panel, group;
};

// Tiles of a block: their transforms stay in L2, or weigh as much as the weights that they share.
// Several blocks are a number that threads can share out. A thread with kFewTiles or more has
// enough work under each weight to read all of them itself.
int64_t BlockTiles(const WinogradPlan& p) {
  constexpr int64_t kBytes = 1 << 19, kShares = 4, kFewTiles = 14;
  const int64_t threads = ThreadPool::Global().num_threads(), tiles = p.in.count();
  const int64_t channels = p.s.in_channels + p.s.out_channels;
  const int64_t tile = p.points * channels * 4;
  const int64_t weights = p.points * p.s.in_channels * p.s.out_channels * 4;
  // In whole panels, which leave the fewest lanes of the transforms empty.
  const int64_t limit =
      std::max<int64_t>(1, std::max(kBytes, weights) / tile / p.gemm.mr) * p.gemm.mr;
  int64_t blocks = CeilDiv(tiles, limit);
  if (blocks > 1)
    blocks = RoundUp(blocks, std::max(kShares, threads));
  else if (tiles >= kFewTiles * threads && p.s.group % threads != 0)
    blocks = threads;
  return CeilDiv(tiles, blocks);
}

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

// A panel of nr output channels, input channels [k0, k1): a few channels' taps by lanes, then the
// transform. `out`: where the panel begins, points `step` apart.
void TransformPanel(const WinogradPlan& p, bool adjoint, const float* w, int64_t panel, int64_t k0,
                    int64_t k1, float* out, int64_t step) {
  std::vector<float> taps(kWeightDepth * 9 * p.lanes);
  for (int64_t k = k0; k < k1; k += kWeightDepth) {
    const int64_t depth = std::min(kWeightDepth, k1 - k);
    for (int64_t i = 0; i < p.nr; i += p.lanes) {
      const int64_t o = panel * p.nr + i;
      GatherTaps(p.s, adjoint, w, o, std::clamp<int64_t>(p.s.out_channels - o, 0, p.lanes), k,
                 depth, p.lanes, taps.data());
      p.f.weights(depth, p.nr, adjoint, taps.data(), out + k * p.nr + i, step);
    }
  }
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
        v_(plan.points * v_step_) {}

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

  // v = B^T x B of all channels: points x [panel of tiles][channel][ld].
  void Transform(const float* x) {
    constexpr int64_t kChannels = 8;
    ThreadPool::Global().ParallelFor(p_.s.in_channels, kChannels, [&](int64_t begin, int64_t end) {
      TransformChannels(x, begin, end);
    });
  }

  // Panels [begin, end) of output channels.
  void Run(int64_t begin, int64_t end, const float* weights, int64_t first,
           const ConvEpilogue<float>& epilogue, float* y) const {
    const FloatSpace m(ProductSize());
    for (int64_t j = begin; j < end; ++j)
      RunPanel(j, weights + j * w_.panel, m.data(), first, epilogue, y);
  }

  // With weights of this call alone: a panel's are transformed, used and never written to memory.
  void RunOnce(bool adjoint, const float* w, int64_t first, const ConvEpilogue<float>& epilogue,
               float* y) const {
    ThreadPool::Global().ParallelFor(w_.panels, 1, [&](int64_t begin, int64_t end) {
      const FloatSpace panel(w_.panel), m(ProductSize());
      for (int64_t j = begin; j < end; ++j) {
        TransformPanel(p_, adjoint, w, j, 0, p_.s.in_channels, panel.data(), w_.step);
        RunPanel(j, panel.data(), m.data(), first, epilogue, y);
      }
    });
  }

 private:
  int64_t PanelStep() const { return tiles_ * p_.nr + kWinogradSkew; }
  // A panel's products at all points, then a vector of its channels of y.
  int64_t ProductSize() const { return p_.points * PanelStep() + p_.lanes * out_.size(); }

  void TransformChannels(const float* x, int64_t c0, int64_t c1) {
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

  // The products of panel j at every point, then its share of y. `m`: their space.
  void RunPanel(int64_t j, const float* panel, float* m, int64_t first,
                const ConvEpilogue<float>& epilogue, float* y) const {
    for (int64_t point = 0; point < p_.points; ++point)
      Multiply(point, panel + point * w_.step, m + point * PanelStep());
    for (int64_t i = 0; i < p_.nr && j * p_.nr + i < p_.s.out_channels; i += p_.lanes)
      Finish(m + i, j * p_.nr + i, first, epilogue, m + p_.points * PanelStep(), y);
  }

  // m (tiles, nr) of a point and one panel of its weights.
  void Multiply(int64_t point, const float* weights, float* m) const {
    const int64_t channels = p_.s.in_channels, nr = p_.nr;
    const float* v = v_.data() + point * v_step_;
    for (int64_t k0 = 0; k0 < channels; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, channels - k0);
      const float* panel = weights + k0 * nr;
      // What comes next, a share with each product of this panel.
      const char* next = reinterpret_cast<const char*>(panel + depth * nr);
      const int64_t share = nr * 4 / rows_.count;
      for (int64_t r = 0; r < rows_.count; ++r)
        p_.gemm.ukernel[0][0][rows_.begin(r + 1) - rows_.begin(r)](
            depth, v + r * v_panel_ + k0 * ld_, ld_, panel, nr, m + rows_.begin(r) * nr, nr, nr,
            {1.0f, k0 > 0 ? 1.0f : 0.0f, nullptr, nullptr, next + r * depth * share, share});
    }
  }

  // y = A^T m A of a vector of output channels from o on; m: where they begin.
  void Finish(const float* m, int64_t o, int64_t first, const ConvEpilogue<float>& epilogue,
              float* scratch, float* y) const {
    const int64_t size = out_.size();
    std::vector<int32_t> planes(p_.lanes);
    for (int64_t l = 0; l < p_.lanes; ++l) planes[l] = static_cast<int32_t>(l * size);
    for (int64_t t = 0; t < tiles_; ++t)
      p_.f.output(m + t * p_.nr, PanelStep(), planes.data(), out_.pitch(),
                  scratch + *out_.offsets(t));
    for (int64_t l = 0; l < std::min(p_.lanes, p_.s.out_channels - o); ++l) {
      const int64_t channel = first + o + l;
      StoreChannel(out_.rows(), out_.row_count(), scratch + l * size, epilogue, channel,
                   channel * p_.s.out_count(), y);
    }
  }

  const WinogradPlan& p_;
  WeightLayout w_;
  int64_t tiles_ = 0;
  Panels rows_{0, 1};  // Of tiles.
  int64_t ld_, v_panel_, v_step_;
  FloatSpace v_;
  TileBlock in_, out_;
  std::vector<int32_t> lanes_;
};

}  // namespace

int64_t WinogradWeightSize(const ConvShape& s, int m) {
  return s.group * WeightLayout(WinogradPlan(s, m)).group;
}

void WinogradWeights(const ConvShape& s, int m, bool adjoint, const float* w, float* packed) {
  const WinogradPlan p(s, m);
  const WeightLayout to(p);
  const int64_t k = s.in_channels, parts = CeilDiv(k, kWeightDepth);
  ThreadPool::Global().ParallelFor(s.group * to.panels * parts, 8, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t panel = task / parts % to.panels, g = task / parts / to.panels;
      const int64_t k0 = task % parts * kWeightDepth;
      TransformPanel(p, adjoint, w + g * s.out_channels * k * 9, panel, k0,
                     std::min(k0 + kWeightDepth, k), packed + g * to.group + panel * to.panel,
                     to.step);
    }
  });
}

void WinogradForward(const ConvShape& s, int m, const float* x, const float* packed,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const WinogradPlan p(s, m);
  const WeightLayout layout(p);
  const int64_t tiles = p.in.count(), size = BlockTiles(p), blocks = CeilDiv(tiles, size);
  ThreadPool& pool = ThreadPool::Global();
  const auto run = [&](BlockWork* work, int64_t i, int64_t begin, int64_t end) {
    const int64_t g = i / blocks, t0 = i % blocks * size;
    work->Set(t0, std::min(size, tiles - t0));
    work->Transform(x + g * s.in_channels * s.in_count());
    work->Run(begin, end, packed + g * layout.group, g * s.out_channels, epilogue, y);
  };
  if (s.group * blocks >= pool.num_threads())
    return pool.ParallelFor(s.group * blocks, 1, [&](int64_t begin, int64_t end) {
      BlockWork work(p, size);
      for (int64_t i = begin; i < end; ++i) run(&work, i, 0, layout.panels);
    });
  for (int64_t i = 0; i < s.group * blocks; ++i)
    pool.ParallelFor(layout.panels, CeilDiv(layout.panels, pool.num_threads()),
                     [&](int64_t begin, int64_t end) {
                       BlockWork work(p, size);
                       run(&work, i, begin, end);
                     });
}

bool WinogradOnce(const ConvShape& s, int m) {
  const WinogradPlan p(s, m);
  return BlockTiles(p) >= p.in.count() && WinogradWeightSize(s, m) * 4 > s.group * kOnceBytes;
}

void WinogradForwardOnce(const ConvShape& s, int m, bool adjoint, const float* x, const float* w,
                         const ConvEpilogue<float>& epilogue, float* y) {
  const WinogradPlan p(s, m);
  BlockWork work(p, p.in.count());
  work.Set(0, p.in.count());
  for (int64_t g = 0; g < s.group; ++g) {
    work.Transform(x + g * s.in_channels * s.in_count());
    work.RunOnce(adjoint, w + g * s.out_channels * s.in_channels * 9, g * s.out_channels, epilogue,
                 y);
  }
}

}  // namespace toolkit
