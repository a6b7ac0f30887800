#include "kernels/conv_winograd.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_winograd_plan.h"

namespace toolkit {
namespace {

constexpr int64_t kBlock = 32;       // Tiles whose transforms stay in L2.
constexpr int64_t kChunkPanels = 4;  // Panels of output channels between transforms back.
constexpr int64_t kFusedWeightBytes = 4 << 20;  // Beyond it transformed weights leave L2.
constexpr int64_t kPhaseBytes = 8 << 20;        // Transformed tiles of a phase that threads share.
// Transformed weights of a group's panels from row `first` on: point p at data + p * step.
struct WeightView {
  const float* data;
  int64_t step, first;
};

WeightView GroupWeights(const WinogradPlan& p, const float* weights, int64_t g) {
  return {weights + g * p.points * p.weight_step, p.weight_step, 0};
}

// One block of tiles of one group: B^T x B of its channels, then the products and A^T ( ) A.
class BlockWork {
 public:
  explicit BlockWork(const WinogradPlan& plan) : p_(plan) {}

  void Set(int64_t begin, int64_t n) {
    tiles_.Set(p_.in, begin, n, p_.lanes);
    results_.Set(p_.out, begin, n, p_.lanes);
    results_.Reverse();
    columns_ = RoundUp(n, p_.lanes);
  }

  static int64_t StepOf(const WinogradPlan& p, int64_t tiles) {
    return p.s.in_channels * RoundUp(tiles, p.nr) + kWinogradSkew;
  }
  // v: points x [panel][channel][nr], points `StepOf` apart.
  void Transform(const float* x, int64_t c0, int64_t c1, float* v) {
    const int64_t step = StepOf(p_, tiles_.tiles());
    scratch_.assign(static_cast<size_t>(tiles_.size()), 0.0f);
    for (int64_t c = c0; c < c1; ++c) {
      ConvSimd().load(tiles_.rows(), tiles_.row_count(), 1, x + c * p_.s.in_count(),
                      c + kPlanesAhead < c1 ? kPlanesAhead * p_.s.in_count() : 0, scratch_.data());
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
    const int64_t step = rows * columns_ + kWinogradSkew;
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
  const WinogradPlan& p_;
  TileBlock tiles_, results_;
  int64_t columns_ = 0;
  std::vector<float> scratch_, products_, out_;
};

// Enough blocks: each thread carries its own through.
void ForwardByBlocks(const WinogradPlan& p, int64_t blocks, const float* x, const float* weights,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const int64_t tiles = p.in.count(), channels = p.s.in_channels;
  ThreadPool::Global().ParallelFor(p.s.group * blocks, 1, [&](int64_t begin, int64_t end) {
    BlockWork work(p);
    const FloatSpace v(p.points * BlockWork::StepOf(p, kBlock));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / blocks, t0 = i % blocks * kBlock;
      work.Set(t0, std::min(kBlock, tiles - t0));
      work.Transform(x + g * channels * p.s.in_count(), 0, channels, v.data());
      for (int64_t r = 0; r < p.panels.count; r += kChunkPanels)
        work.Multiply(v.data(), GroupWeights(p, weights, g), g * p.s.out_channels, r,
                      std::min(r + kChunkPanels, p.panels.count), epilogue, y);
    }
  });
}

// B^T x B of `count` blocks of group g from block b0 on, `size` apart in v.
void TransformPhase(const WinogradPlan& p, int64_t g, int64_t b0, int64_t count, const float* x,
                    float* v, int64_t size) {
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
void ForwardByPhases(const WinogradPlan& p, int64_t blocks, const float* x, const float* weights,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const int64_t tiles = p.in.count();
  const int64_t size = p.points * BlockWork::StepOf(p, std::min(kBlock, tiles));
  const int64_t phase = std::min(
      blocks, std::max<int64_t>(1, kPhaseBytes / (size * static_cast<int64_t>(sizeof(float)))));
  const FloatSpace v(phase * size);
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
          work.Multiply(v.data() + last * size, GroupWeights(p, weights, g), g * p.s.out_channels,
                        r, r + n, epilogue, y);
          i += n;
        }
      });
    }
  }
}

// Few tiles for many weights: a panel's weights are transformed where they are used, so that they
// never leave the cache.
void ForwardFusedWeights(const WinogradPlan& p, int64_t blocks, bool adjoint, const float* x,
                         const float* w, const ConvEpilogue<float>& epilogue, float* y) {
  const int64_t tiles = p.in.count(), channels = p.s.in_channels;
  const int64_t size = p.points * BlockWork::StepOf(p, std::min(kBlock, tiles));
  const int64_t height = CeilDiv(p.s.out_channels, p.panels.count);
  const int64_t step = height * channels + kWinogradSkew;
  const FloatSpace v(blocks * size);
  for (int64_t g = 0; g < p.s.group; ++g) {
    TransformPhase(p, g, 0, blocks, x, v.data(), size);
    ThreadPool::Global().ParallelFor(p.panels.count, 1, [&](int64_t begin, int64_t end) {
      BlockWork work(p);
      std::vector<float> taps(kWeightDepth * 9 * p.lanes);
      const FloatSpace weights(p.points * step);
      for (int64_t r = begin; r < end; ++r) {
        const int64_t m0 = p.panels.begin(r), rows = p.panels.begin(r + 1) - m0;
        for (int64_t k0 = 0; k0 < channels; k0 += kWeightDepth)
          TransformWeights(p, adjoint, w + g * p.s.out_channels * channels * 9, m0, rows, rows, k0,
                           std::min(kWeightDepth, channels - k0), taps.data(), weights.data(),
                           step);
        for (int64_t b = 0; b < blocks; ++b) {
          work.Set(b * kBlock, std::min(kBlock, tiles - b * kBlock));
          work.Multiply(v.data() + b * size, {weights.data(), step, p.panels.begin(r)},
                        g * p.s.out_channels, r, r + 1, epilogue, y);
        }
      }
    });
  }
}

}  // namespace

void TransformWeights(const WinogradPlan& p, bool adjoint, const float* w, int64_t m0,
                      int64_t height, int64_t ld, int64_t k0, int64_t depth, float* taps,
                      float* out, int64_t step) {
  const int64_t k = p.s.in_channels;
  for (int64_t i = (height - 1) / p.lanes * p.lanes; i >= 0; i -= p.lanes) {
    const int64_t rows = std::min(p.lanes, height - i);
    if (!adjoint)
      GemmTranspose<float>(rows, depth * 9, w + ((m0 + i) * k + k0) * 9, k * 9, p.lanes, taps);
    for (int64_t d = 0; adjoint && d < depth; ++d)
      GemmTranspose<float>(rows, 9, w + ((k0 + d) * p.s.out_channels + m0 + i) * 9, 9, p.lanes,
                           taps + d * 9 * p.lanes);
    p.f.weights(depth, static_cast<int>(rows), ld, adjoint, taps, out + k0 * ld + i, step);
  }
}

int64_t WinogradWeightSize(const ConvShape& s, int m) {
  const WinogradPlan p(s, m);
  return s.group * p.points * p.weight_step;
}

// A panel of rows at a time: its taps by lanes, then the transform.
void WinogradWeights(const ConvShape& s, int m, bool adjoint, const float* w, float* packed) {
  const WinogradPlan p(s, m);
  const int64_t k = s.in_channels, parts = CeilDiv(k, kWeightDepth), tasks = p.panels.count * parts;
  ThreadPool::Global().ParallelFor(s.group * tasks, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> taps(kWeightDepth * 9 * p.lanes);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t g = task / tasks, r = task / parts % p.panels.count;
      const int64_t k0 = task % parts * kWeightDepth;
      const int64_t m0 = p.panels.begin(r), rows = p.panels.begin(r + 1) - m0;
      TransformWeights(p, adjoint, w + g * s.out_channels * k * 9, m0, rows, rows, k0,
                       std::min(kWeightDepth, k - k0), taps.data(),
                       packed + g * p.points * p.weight_step + m0 * k, p.weight_step);
    }
  });
}

void WinogradForward(const ConvShape& s, int m, const float* x, const float* packed,
                     const ConvEpilogue<float>& epilogue, float* y) {
  const WinogradPlan p(s, m);
  const int64_t blocks = CeilDiv(p.in.count(), kBlock);
  const bool enough = s.group * blocks >= 4 * ThreadPool::Global().num_threads();
  (enough ? ForwardByBlocks : ForwardByPhases)(p, blocks, x, packed, epilogue, y);
}

void WinogradForwardUnpacked(const ConvShape& s, int m, bool adjoint, const float* x,
                             const float* w, const ConvEpilogue<float>& epilogue, float* y) {
  const WinogradPlan p(s, m);
  const int64_t blocks = CeilDiv(p.in.count(), kBlock);
  const int64_t tile_bytes = p.points * s.in_channels * p.in.count() * 4;
  const int64_t weight_bytes = p.points * s.in_channels * s.out_channels * 4;
  if (weight_bytes > kFusedWeightBytes && tile_bytes <= kPhaseBytes)
    return ForwardFusedWeights(p, blocks, adjoint, x, w, epilogue, y);
  const FloatSpace packed(WinogradWeightSize(s, m));
  WinogradWeights(s, m, adjoint, w, packed.data());
  WinogradForward(s, m, x, packed.data(), epilogue, y);
}

}  // namespace toolkit
