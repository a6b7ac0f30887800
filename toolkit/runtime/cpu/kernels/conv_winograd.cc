#include "kernels/conv_winograd.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/gemm.h"
#include "core/thread_pool.h"
#include "kernels/conv_tiles.h"
#include "simd/gemm.h"
#include "simd/winograd.h"

namespace toolkit {
namespace {

constexpr int64_t kBlock = 32;          // Tiles whose transforms stay in L2.
constexpr int64_t kGradientBlock = 64;  // Tiles summed in registers between updates of dU.
constexpr int64_t kChunkPanels = 4;     // Panels of output channels between transforms back.
constexpr int64_t kFusedWeightBytes = 4 << 20;  // Beyond it transformed weights leave L2.
constexpr int64_t kPhaseBytes = 8 << 20;        // Transformed tiles of a phase that threads share.
constexpr int64_t kDepth = 16;                  // Channels of weights transformed at a time.
constexpr int64_t kAhead = 2;                   // Planes between a prefetch and its use.
constexpr int64_t kSkew = 16;                   // Keeps the points' streams out of one set of L1.

struct Space {
  explicit Space(int64_t count)
      : buffer(Buffer::Allocate(static_cast<size_t>(count) * sizeof(float))) {}
  float* data() const { return reinterpret_cast<float*>(buffer->data()); }
  std::shared_ptr<Buffer> buffer;
};

// Transformed weights of a group's panels from row `first` on: point p at data + p * step.
struct WeightView {
  const float* data;
  int64_t step, first;
};

struct Plan {
  Plan(const ConvShape& shape, int m)
      : s(shape),
        f(m == 2 ? WinogradSimd().f2 : WinogradSimd().f4),
        gemm(GemmSimd().f32),
        lanes(gemm.lanes),
        nr(gemm.nr),
        points((m + 2) * (m + 2)),
        panels(s.out_channels, gemm.mr),
        weight_step(s.out_channels * s.in_channels + kSkew) {
    const Window& w = s.window;
    in = {s.batch,
          CeilDiv(w.out[0], m),
          CeilDiv(w.out[1], m),
          m,
          m + 2,
          w.pad_begin[0],
          w.pad_begin[1],
          w.in[0],
          w.in[1],
          s.group * s.in_channels * s.in_count()};
    out = {s.batch, in.rows, in.columns, m,        m,
           0,       0,       w.out[0],   w.out[1], s.group * s.out_channels * s.out_count()};
  }

  WeightView View(const float* weights, int64_t g) const {
    return {weights + g * points * weight_step, weight_step, 0};
  }

  const ConvShape& s;
  const WinogradTransforms& f;
  const GemmKernels<float>& gemm;
  int64_t lanes, nr, points;
  Panels panels;
  int64_t weight_step;
  TileGrid in, out;
};

// One block of tiles of one group: B^T x B of its channels, then the products and A^T ( ) A.
class BlockWork {
 public:
  explicit BlockWork(const Plan& plan) : p_(plan) {}

  void Set(int64_t begin, int64_t n) {
    tiles_.Set(p_.in, begin, n, p_.lanes);
    results_.Set(p_.out, begin, n, p_.lanes);
    results_.Reverse();
    columns_ = RoundUp(n, p_.lanes);
  }

  static int64_t StepOf(const Plan& p, int64_t tiles) {
    return p.s.in_channels * RoundUp(tiles, p.nr) + kSkew;
  }
  // v: points x [panel][channel][nr], points `StepOf` apart.
  void Transform(const float* x, int64_t c0, int64_t c1, float* v) {
    const int64_t step = StepOf(p_, tiles_.tiles());
    scratch_.assign(static_cast<size_t>(tiles_.size()), 0.0f);
    for (int64_t c = c0; c < c1; ++c) {
      ConvSimd().load(tiles_.rows(), tiles_.row_count(), 1, x + c * p_.s.in_count(),
                      c + kAhead < c1 ? kAhead * p_.s.in_count() : 0, scratch_.data());
      for (int64_t j = 0; j < columns_; j += p_.lanes)
        p_.f.input(scratch_.data(), tiles_.offsets(j), tiles_.pitch(),
                   v + j / p_.nr * p_.nr * p_.s.in_channels + c * p_.nr + j % p_.nr, step);
    }
  }

  // Panels of output channels [r0, r1) of the group whose first channel is `first`.
  void Multiply(const float* v, const WeightView& weights, int64_t first, int64_t r0, int64_t r1,
                const ConvEpilogue<float>& epilogue, float* y) {
    const int64_t o0 = p_.panels.begin(r0), rows = p_.panels.begin(r1) - o0;
    const int64_t channels = p_.s.in_channels, v_step = StepOf(p_, tiles_.tiles());
    const int64_t step = rows * columns_ + kSkew;
    products_.resize(static_cast<size_t>(p_.points * step));
    const GemmStore<float> store = {1.0f, 0.0f, nullptr, nullptr};
    for (int64_t point = 0; point < p_.points; ++point) {
      for (int64_t r = r0; r < r1; ++r) {
        const int64_t m0 = p_.panels.begin(r), height = p_.panels.begin(r + 1) - m0;
        for (int64_t j = 0; j < columns_; j += p_.nr) {
          const int64_t n = std::min(p_.nr, columns_ - j);
          p_.gemm.ukernel[0][n <= p_.lanes][height](
              channels, weights.data + point * weights.step + (m0 - weights.first) * channels,
              height, v + point * v_step + j * channels, p_.nr,
              products_.data() + point * step + (m0 - o0) * columns_ + j, columns_, n, store);
        }
      }
    }
    out_.resize(static_cast<size_t>(results_.size()));
    for (int64_t o = 0; o < rows; ++o) {
      for (int64_t j = 0; j < columns_; j += p_.lanes)
        p_.f.output(products_.data() + o * columns_ + j, step, results_.offsets(j),
                    results_.pitch(), out_.data());
      const int64_t channel = first + o0 + o;
      StoreChannel(results_.rows(), results_.row_count(), out_.data(), epilogue, channel,
                   channel * p_.s.out_count(), y);
    }
  }

 private:
  const Plan& p_;
  TileBlock tiles_, results_;
  int64_t columns_ = 0;
  std::vector<float> scratch_, products_, out_;
};

// Enough blocks: each thread carries its own through.
void ForwardByBlocks(const Plan& p, int64_t blocks, const float* x, const float* weights,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const int64_t tiles = p.in.count(), channels = p.s.in_channels;
  ThreadPool::Global().ParallelFor(p.s.group * blocks, 1, [&](int64_t begin, int64_t end) {
    BlockWork work(p);
    const Space v(p.points * BlockWork::StepOf(p, kBlock));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / blocks, t0 = i % blocks * kBlock;
      work.Set(t0, std::min(kBlock, tiles - t0));
      work.Transform(x + g * channels * p.s.in_count(), 0, channels, v.data());
      for (int64_t r = 0; r < p.panels.count; r += kChunkPanels)
        work.Multiply(v.data(), p.View(weights, g), g * p.s.out_channels, r,
                      std::min(r + kChunkPanels, p.panels.count), epilogue, y);
    }
  });
}

// B^T x B of `count` blocks of group g from block b0 on, `size` apart in v.
void TransformPhase(const Plan& p, int64_t g, int64_t b0, int64_t count, const float* x, float* v,
                    int64_t size) {
  constexpr int64_t kChannels = 8;
  const int64_t tiles = p.in.count(), channels = p.s.in_channels;
  const int64_t parts = CeilDiv(channels, kChannels);
  ThreadPool::Global().ParallelFor(count * parts, 1, [&](int64_t begin, int64_t end) {
    BlockWork work(p);
    for (int64_t i = begin, last = -1; i < end; ++i) {
      const int64_t c0 = i % parts * kChannels;
      if (i / parts != last) {
        last = i / parts;
        const int64_t t0 = (b0 + last) * kBlock;
        work.Set(t0, std::min(kBlock, tiles - t0));
      }
      work.Transform(x + g * channels * p.s.in_count(), c0, std::min(c0 + kChannels, channels),
                     v + last * size);
    }
  });
}

// Few tiles: all threads transform, then all multiply, sharing the channels out.
void ForwardByPhases(const Plan& p, int64_t blocks, const float* x, const float* weights,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const int64_t tiles = p.in.count();
  const int64_t size = p.points * BlockWork::StepOf(p, std::min(kBlock, tiles));
  const int64_t phase = std::min(
      blocks, std::max<int64_t>(1, kPhaseBytes / (size * static_cast<int64_t>(sizeof(float)))));
  const Space v(phase * size);
  ThreadPool& pool = ThreadPool::Global();
  for (int64_t g = 0; g < p.s.group; ++g) {
    for (int64_t b0 = 0; b0 < blocks; b0 += phase) {
      const int64_t count = std::min(phase, blocks - b0);
      TransformPhase(p, g, b0, count, x, v.data(), size);
      pool.ParallelFor(count * p.panels.count, 1, [&](int64_t begin, int64_t end) {
        BlockWork work(p);
        for (int64_t i = begin, last = -1; i < end;) {
          if (i / p.panels.count != last) {
            last = i / p.panels.count;
            const int64_t t0 = (b0 + last) * kBlock;
            work.Set(t0, std::min(kBlock, tiles - t0));
          }
          const int64_t r = i % p.panels.count;
          const int64_t n = std::min({end - i, p.panels.count - r, kChunkPanels});
          work.Multiply(v.data() + last * size, p.View(weights, g), g * p.s.out_channels, r, r + n,
                        epilogue, y);
          i += n;
        }
      });
    }
  }
}

// Channels [k0, k0 + depth) of panel r of one group's weights; `out`: where the panel begins.
void TransformWeights(const Plan& p, bool adjoint, const float* w, int64_t r, int64_t k0,
                      int64_t depth, float* taps, float* out, int64_t step) {
  const int64_t k = p.s.in_channels, m0 = p.panels.begin(r);
  const int64_t height = p.panels.begin(r + 1) - m0;
  for (int64_t i = (height - 1) / p.lanes * p.lanes; i >= 0; i -= p.lanes) {
    const int64_t rows = std::min(p.lanes, height - i);
    if (!adjoint)
      GemmTranspose<float>(rows, depth * 9, w + ((m0 + i) * k + k0) * 9, k * 9, p.lanes, taps);
    for (int64_t d = 0; adjoint && d < depth; ++d)
      GemmTranspose<float>(rows, 9, w + ((k0 + d) * p.s.out_channels + m0 + i) * 9, 9, p.lanes,
                           taps + d * 9 * p.lanes);
    p.f.weights(depth, static_cast<int>(rows), height, adjoint, taps, out + k0 * height + i, step);
  }
}

// Few tiles for many weights: a panel's weights are transformed where they are used, so that they
// never leave the cache.
void ForwardFusedWeights(const Plan& p, int64_t blocks, bool adjoint, const float* x,
                         const float* w, const ConvEpilogue<float>& epilogue, float* y) {
  const int64_t tiles = p.in.count(), channels = p.s.in_channels;
  const int64_t size = p.points * BlockWork::StepOf(p, std::min(kBlock, tiles));
  const int64_t height = CeilDiv(p.s.out_channels, p.panels.count);
  const int64_t step = height * channels + kSkew;
  const Space v(blocks * size);
  for (int64_t g = 0; g < p.s.group; ++g) {
    TransformPhase(p, g, 0, blocks, x, v.data(), size);
    ThreadPool::Global().ParallelFor(p.panels.count, 1, [&](int64_t begin, int64_t end) {
      BlockWork work(p);
      std::vector<float> taps(kDepth * 9 * p.lanes);
      const Space weights(p.points * step);
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t k0 = 0; k0 < channels; k0 += kDepth)
          TransformWeights(p, adjoint, w + g * p.s.out_channels * channels * 9, r, k0,
                           std::min(kDepth, channels - k0), taps.data(), weights.data(), step);
        for (int64_t b = 0; b < blocks; ++b) {
          work.Set(b * kBlock, std::min(kBlock, tiles - b * kBlock));
          work.Multiply(v.data() + b * size, {weights.data(), step, p.panels.begin(r)},
                        g * p.s.out_channels, r, r + 1, epilogue, y);
        }
      }
    });
  }
}

// The sums over tiles dU = (A dy A^T) (B^T x B)^T of one group, block after block.
class WeightSums {
 public:
  WeightSums(const Plan& plan, int64_t tiles)
      : p_(plan),
        tiles_(RoundUp(tiles, plan.lanes)),
        ld_(RoundUp(plan.s.in_channels, plan.nr)),
        step_(plan.s.out_channels * ld_ + kSkew),
        x_step_(ld_ * tiles_ + kSkew),
        dy_step_(plan.s.out_channels * tiles_ + kSkew),
        x_(plan.points * x_step_),
        dy_(plan.points * dy_step_),
        sums_(tiles < plan.in.count() ? std::make_unique<Space>(plan.points * step_) : nullptr) {}

  void Add(int64_t begin, int64_t n, const float* x, const float* dy) {
    Transform(begin, n, x, dy);
    const float beta = begin == 0 ? 0.0f : 1.0f;
    ThreadPool::Global().ParallelFor(p_.panels.count * p_.points, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t r = i % p_.panels.count, m0 = p_.panels.begin(r);
        Multiply(r, i / p_.panels.count, RoundUp(n, p_.lanes), beta, sums_->data() + m0 * ld_,
                 step_);
      }
    });
  }

  void Finish(float* dw) const {
    ThreadPool::Global().ParallelFor(p_.s.out_channels, 1, [&](int64_t from, int64_t to) {
      FinishRows(from, to, sums_->data() + from * ld_, step_, dw);
    });
  }

  // All in one where there is one block: the sums of a panel never leave the cache.
  void Run(int64_t tiles, const float* x, const float* dy, float* dw) {
    Transform(0, tiles, x, dy);
    const int64_t step = CeilDiv(p_.s.out_channels, p_.panels.count) * ld_ + kSkew;
    ThreadPool::Global().ParallelFor(p_.panels.count, 1, [&](int64_t from, int64_t to) {
      const Space sums(p_.points * step);
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
    const int64_t step = channels * columns + kSkew;
    std::vector<float> scratch(block.size());
    const Space rows(p_.points * step);
    for (int64_t c = 0; c < channels; ++c) {
      ConvSimd().load(block.rows(), block.row_count(), 1, x + (c0 + c) * p_.s.in_count(),
                      c + kAhead < channels ? kAhead * p_.s.in_count() : 0, scratch.data());
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
                      o + kAhead < end ? kAhead * p_.s.out_count() : 0, scratch.data());
      for (int64_t j = 0; j < n; j += p_.lanes)
        p_.f.gradient(scratch.data(), block.offsets(j), block.pitch(), dy_.data() + o * tiles_ + j,
                      dy_step_);
    }
  }

  const Plan& p_;
  int64_t tiles_, ld_, step_, x_step_, dy_step_;
  Space x_, dy_;
  std::unique_ptr<Space> sums_;  // Where several blocks are added up.
};

}  // namespace

int64_t WinogradWeightSize(const ConvShape& s, int m) {
  const Plan p(s, m);
  return s.group * p.points * p.weight_step;
}

// A panel of rows at a time: its taps by lanes, then the transform.
void WinogradWeights(const ConvShape& s, int m, bool adjoint, const float* w, float* packed) {
  const Plan p(s, m);
  const int64_t k = s.in_channels, parts = CeilDiv(k, kDepth), tasks = p.panels.count * parts;
  ThreadPool::Global().ParallelFor(s.group * tasks, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> taps(kDepth * 9 * p.lanes);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t g = task / tasks, r = task / parts % p.panels.count;
      const int64_t k0 = task % parts * kDepth;
      TransformWeights(p, adjoint, w + g * s.out_channels * k * 9, r, k0, std::min(kDepth, k - k0),
                       taps.data(), packed + g * p.points * p.weight_step + p.panels.begin(r) * k,
                       p.weight_step);
    }
  });
}

void WinogradForward(const ConvShape& s, int m, const float* x, const float* packed,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const Plan p(s, m);
  const int64_t blocks = CeilDiv(p.in.count(), kBlock);
  const bool enough = s.group * blocks >= 4 * ThreadPool::Global().num_threads();
  (enough ? ForwardByBlocks : ForwardByPhases)(p, blocks, x, packed, epilogue, y);
}

void WinogradForwardUnpacked(const ConvShape& s, int m, bool adjoint, const float* x,
                             const float* w, const ConvEpilogue<float>& epilogue, float* y) {
  const Plan p(s, m);
  const int64_t blocks = CeilDiv(p.in.count(), kBlock);
  const int64_t tile_bytes = p.points * s.in_channels * p.in.count() * 4;
  const int64_t weight_bytes = p.points * s.in_channels * s.out_channels * 4;
  if (weight_bytes > kFusedWeightBytes && tile_bytes <= kPhaseBytes)
    return ForwardFusedWeights(p, blocks, adjoint, x, w, epilogue, y);
  const Space packed(WinogradWeightSize(s, m));
  WinogradWeights(s, m, adjoint, w, packed.data());
  WinogradForward(s, m, x, packed.data(), epilogue, y);
}

void WinogradWeightGradient(const ConvShape& s, int m, const float* x, const float* dy, float* dw) {
  const Plan p(s, m);
  const int64_t tiles = p.in.count();
  const int64_t bytes = p.points * (s.in_channels + s.out_channels) * tiles * 4;
  const int64_t block = bytes <= kPhaseBytes ? tiles : kGradientBlock;
  WeightSums sums(p, std::min(tiles, block));
  for (int64_t g = 0; g < s.group; ++g) {
    const float* gx = x + g * s.in_channels * s.in_count();
    const float* gdy = dy + g * s.out_channels * s.out_count();
    float* gdw = dw + g * s.out_channels * s.in_channels * 9;
    if (block >= tiles) {
      sums.Run(tiles, gx, gdy, gdw);
      continue;
    }
    for (int64_t t = 0; t < tiles; t += block) sums.Add(t, std::min(block, tiles - t), gx, gdy);
    sums.Finish(gdw);
  }
}

}  // namespace toolkit
