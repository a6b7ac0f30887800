// The rows under a chunk of output rows are copied with their padding written out, a plane for each
// residue of the stride. In such a plane, output position (i, j) is element i * pitch + j, and a
// tap is a constant distance: so a row of im2col's matrix exists already, with the columns between
// two output rows as waste. The micro-kernel reads it in place. Each thread has its own copy: on
// cores that share no cache, writing what another has read costs more than copying it twice.
#include "kernels/conv_direct.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/gemm.h"
#include "core/thread_pool.h"
#include "kernels/conv_tiles.h"
#include "kernels/float_space.h"
#include "kernels/window.h"

namespace toolkit {
namespace {

constexpr int64_t kChunk = 512;  // Positions of a task, about: its sums stay in L1.
constexpr int64_t kDepth = 384;  // (channel, tap) pairs whose weights stay in L1.

// Dimension d of two; one spatial dimension has a first one of extent 1.
struct Axis {
  int64_t in, out, kernel, stride, dilation, pad;
};
Axis AxisOf(const Window& w, int d) {
  const int at = d - (2 - w.rank);
  if (at < 0) return {1, 1, 1, 1, 1, 0};
  return {w.in[at], w.out[at], w.kernel[at], w.stride[at], w.dilation[at], w.pad_begin[at]};
}

struct Plan {
  Plan(const ConvShape& shape, int64_t threads)
      : s(shape),
        layout(shape),
        y(AxisOf(s.window, 0)),
        x(AxisOf(s.window, 1)),
        simd(ConvSimd()),
        panels(s.out_channels, simd.max_rows) {
    const int64_t fitting =
        std::clamp<int64_t>(kChunk / layout.pitch, 1, std::max<int64_t>(1, y.out));
    chunks = std::min(y.out, RoundUp(CeilDiv(y.out, fitting), threads));
    chunk_rows = CeilDiv(y.out, chunks);
    chunks = CeilDiv(y.out, chunk_rows);
    rows = chunk_rows + (y.kernel - 1) * y.dilation / y.stride;
    channel = layout.phases[0] * layout.phases[1] * rows * layout.pitch;
    MakeOffsets();
  }

  // The rows of one channel of x under chunk `chunk`.
  void Loads(int64_t chunk, std::vector<RowCopy>* loads) const {
    loads->clear();
    for (int64_t py = 0; py < layout.phases[0]; ++py)
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = (chunk * chunk_rows + row) * y.stride + py - y.pad;
        if (at < 0 || at >= y.in) continue;
        for (int64_t px = 0; px < layout.phases[1]; ++px) {
          const int64_t skip = std::max<int64_t>(0, CeilDiv(x.pad - px, x.stride));
          const int64_t first = skip * x.stride + px - x.pad;
          const int64_t used = (x.out - 1) + (x.kernel - 1) * x.dilation / x.stride + 1;
          const int64_t n = std::min(CeilDiv(x.in - first, x.stride), used - skip);
          if (n <= 0) continue;
          const int64_t plane = py * layout.phases[1] + px;
          loads->push_back({at * x.in + first, (plane * rows + row) * layout.pitch + skip, n});
        }
      }
  }

  const ConvShape& s;
  DirectLayout layout;
  Axis y, x;
  const ConvRows& simd;
  Panels panels;
  int64_t chunk_rows, chunks;
  int64_t rows, channel;         // Of a plane under a chunk; elements of a channel there.
  std::vector<int32_t> offsets;  // Of each (channel, tap).

 private:
  void MakeOffsets() {
    const int64_t plane = rows * layout.pitch;
    for (int64_t c = 0; c < s.in_channels; ++c)
      for (int64_t i = 0; i < y.kernel; ++i)
        for (int64_t j = 0; j < x.kernel; ++j) {
          const int64_t dy = i * y.dilation, dx = j * x.dilation;
          const int64_t phase = dy % y.stride * layout.phases[1] + dx % x.stride;
          offsets.push_back(static_cast<int32_t>(c * channel + phase * plane +
                                                 dy / y.stride * layout.pitch + dx / x.stride));
        }
  }
};

// Panels of one group's output channels over a chunk of rows of one image.
class ChunkWork {
 public:
  explicit ChunkWork(const Plan& plan)
      : p_(plan),
        ld_(RoundUp(plan.chunk_rows * plan.layout.pitch, plan.simd.lanes)),
        sums_(plan.simd.max_rows * ld_),
        padded_(plan.s.in_channels * plan.channel + 2 * plan.simd.lanes) {}

  // Panels [r0, r1) of group `i` of all images.
  void Run(int64_t i, int64_t chunk, int64_t r0, int64_t r1, const float* x, const float* packed,
           const ConvEpilogue<float>& epilogue, float* y) {
    Load(i, chunk, x);
    const int64_t row0 = chunk * p_.chunk_rows, rows = std::min(p_.chunk_rows, p_.y.out - row0);
    const int64_t k = p_.s.in_channels * p_.s.taps(), pitch = p_.layout.pitch;
    const int64_t lanes = p_.simd.lanes, columns = RoundUp((rows - 1) * pitch + p_.x.out, lanes);
    const int64_t o = p_.s.out_channels, first = i % p_.s.group * o;
    stores_.clear();
    for (int64_t r = 0; r < rows; ++r)
      stores_.push_back({r * pitch, (row0 + r) * p_.x.out, p_.x.out});
    for (int64_t r = r0; r < r1; ++r) {
      const int64_t m0 = p_.panels.begin(r), height = p_.panels.begin(r + 1) - m0;
      const float* a = packed + (first + m0) * k;
      for (int64_t k0 = 0; k0 < k; k0 += kDepth)
        for (int64_t j = 0; j < columns; j += 2 * lanes)
          p_.simd.direct[columns - j > lanes][height](std::min(kDepth, k - k0), a + k0 * height,
                                                      p_.offsets.data() + k0, padded_.data() + j,
                                                      k0 > 0, sums_.data() + j, ld_);
      for (int64_t c = 0; c < height; ++c)
        StoreChannel(stores_.data(), rows, sums_.data() + c * ld_, epilogue, first + m0 + c,
                     (i * o + m0 + c) * p_.s.out_count(), y);
    }
  }

 private:
  void Load(int64_t i, int64_t chunk, const float* x) {
    if (i == image_ && chunk == chunk_) return;
    image_ = i, chunk_ = chunk;
    p_.Loads(chunk, &loads_);
    const int64_t channels = p_.s.in_channels;
    x += i * channels * p_.s.in_count();
    std::fill(padded_.data(), padded_.data() + channels * p_.channel, 0.0f);
    for (int64_t c = 0; c < channels; ++c)
      p_.simd.load(loads_.data(), static_cast<int64_t>(loads_.size()), p_.x.stride,
                   x + c * p_.s.in_count(), c + 1 < channels ? p_.s.in_count() : 0,
                   padded_.data() + c * p_.channel);
  }

  const Plan& p_;
  int64_t ld_;
  FloatSpace sums_, padded_;
  int64_t image_ = -1, chunk_ = -1;  // What `padded_` holds.
  std::vector<RowCopy> loads_, stores_;
};

}  // namespace

DirectLayout::DirectLayout(const ConvShape& s) {
  int64_t need[2];
  for (int d = 0; d < 2; ++d) {
    const Axis a = AxisOf(s.window, d);
    const int64_t extent = (a.kernel - 1) * a.dilation + 1;
    stride[d] = a.stride;
    phases[d] = std::min(a.stride, extent);
    need[d] = a.out + (extent - 1) / a.stride;
  }
  rows = need[0];
  pitch = need[1];
  // Padding and dilation make sizes whose product is no int64: DirectApplies refuses the largest.
  channel = 1;
  for (int64_t n : {phases[0], phases[1], rows, pitch})
    if (__builtin_mul_overflow(channel, n, &channel)) {
      channel = std::numeric_limits<int64_t>::max();
      break;
    }
}

bool DirectApplies(const ConvShape& s) {
  if (s.window.rank > 2 || s.window.rank < 1) return false;
  const DirectLayout layout(s);
  return static_cast<double>(layout.channel) * static_cast<double>(s.in_channels * s.group) < 1e9;
}

void DirectWeights(const ConvShape& s, bool adjoint, const float* w, float* packed) {
  const int64_t taps = s.taps(), k = s.in_channels * taps;
  const Panels panels(s.out_channels, ConvSimd().max_rows);
  for (int64_t g = 0; g < s.group; ++g, w += s.out_channels * k, packed += s.out_channels * k)
    for (int64_t r = 0; r < panels.count; ++r) {
      const int64_t m0 = panels.begin(r), height = panels.begin(r + 1) - m0;
      float* out = packed + m0 * k;
      if (!adjoint) {
        GemmTranspose<float>(height, k, w + m0 * k, k, height, out);
        continue;
      }
      for (int64_t c = 0; c < s.in_channels; ++c)
        for (int64_t t = taps; t-- > 0; out += height)
          for (int64_t i = 0; i < height; ++i) out[i] = w[(c * s.out_channels + m0 + i) * taps + t];
    }
}

void DirectForward(const ConvShape& s, const float* x, const float* packed,
                   const ConvEpilogue<float>& epilogue, float* y) {
  ThreadPool& pool = ThreadPool::Global();
  const int64_t images = s.batch * s.group;
  const int64_t work = images * s.out_channels * s.in_channels * s.taps() * s.out_count();
  const int64_t threads = work <= kParallelWork ? 1 : pool.num_threads();
  const Plan p(s, images % threads == 0 ? 1 : threads);
  // Output channels are split too where the threads cannot share out chunks evenly.
  const int64_t tasks = images * p.chunks;
  const int64_t parts = tasks % threads == 0 || tasks > 8 * threads
                            ? 1
                            : std::clamp<int64_t>(CeilDiv(4 * threads, tasks), 1, p.panels.count);
  const auto run = [&](int64_t begin, int64_t end) {
    ChunkWork chunk(p);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = i % parts, task = i / parts;
      chunk.Run(task / p.chunks, task % p.chunks, p.panels.count * part / parts,
                p.panels.count * (part + 1) / parts, x, packed, epilogue, y);
    }
  };
  if (threads == 1) return run(0, tasks * parts);
  pool.ParallelFor(tasks * parts, 1, run);
}

}  // namespace toolkit
