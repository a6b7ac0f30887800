// Passes over memory: pad and interleave X; then, for each panel of positions, all output channels.
#include "kernels/conv_int8.h"

#include <algorithm>
#include <cstring>

#include "kernels/plane.h"

namespace toolkit {

namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// w(channel, tap) -> out(block of channels, tap, channel), `pad` beyond the last channel.
void Interleave(int64_t channels, int64_t taps, int64_t lanes, const uint8_t* w, uint8_t pad,
                uint8_t* out) {
  for (int64_t block = 0; block < channels; block += lanes)
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t c = block; c < block + lanes; ++c)
        *out++ = c < channels ? w[c * taps + tap] : pad;
}

// A stride that no second position takes may be any number: 1 then.
Window Reached(Window w) {
  for (int d = 0; d < w.rank; ++d)
    if (w.out[d] <= 1) w.stride[d] = 1;
  return w;
}

// X, padded and interleaved: (image, block of channels, phase, position, channel) in bytes. A phase
// holds the positions of one remainder by the strides, so that taps read neighbours.
class InterleavedImages {
 public:
  InterleavedImages(KernelContext& c, const ConvShape& s, const Tensor& x, uint8_t zero)
      : padding_(Reached(s.window)),
        lanes_(ActiveInt8().group),
        zero_(zero),
        flip_(FlipOfB(x.dtype())),
        phase_(padding_.window()) {
    blocks_ = CeilDiv(s.in_channels, lanes_);
    const int last = phase_.rank - 1;
    for (int d = 0; d <= last; ++d) {
      phases_ *= phase_.stride[d];
      phase_.in[d] = CeilDiv(phase_.in[d], phase_.stride[d]);
    }
    // The padding behind a row is that before the next one.
    if (phases_ == 1 && padding_.needed()) {
      const int64_t behind =
          padding_.window().in[last] - s.window.in[last] - s.window.pad_begin[last];
      phase_.in[last] -= std::clamp<int64_t>(behind, 0, s.window.pad_begin[last]);
    }
    plane_ = phases_ * InCount(phase_) * lanes_;
    const int64_t slices = s.batch * s.group * blocks_;
    Shape shape = {slices, lanes_ * phases_};
    for (int d = 0; d <= last; ++d) shape.push_back(phase_.in[d]);
    const int64_t slack = (kMaxInt8Columns + padding_.window().in[last]) * lanes_;
    data_ = c.Scratch<uint8_t>(static_cast<int64_t>(CheckedBytes(DType::kUInt8, shape)) + slack);
    std::memset(data_ + slices * plane_, zero_, static_cast<size_t>(slack));
    const int64_t from_plane = InCount(s.window), grain = 1 + 16384 / std::max<int64_t>(plane_, 1);
    ThreadPool::Global().ParallelFor(slices, grain, [&](int64_t begin, int64_t end) {
      std::vector<uint8_t> row(static_cast<size_t>(padding_.window().in[last] * lanes_), zero_);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % blocks_ * lanes_;
        const int64_t channel = i / blocks_ * s.in_channels + first;
        Fill(s.window, x.data<uint8_t>() + channel * from_plane, from_plane,
             std::min(lanes_, s.in_channels - first), row.data(), data_ + i * plane_);
      }
    });
  }

  // One phase as a padded image under a window of stride 1.
  Window window() const {
    Window w = phase_;
    for (int d = 0; d < w.rank; ++d) w.stride[d] = 1;
    return w;
  }
  const uint8_t* image(int64_t index) const { return data_ + index * blocks_ * plane_; }

  // Byte offset of each group of K from the lane of a position.
  std::vector<int64_t> TapOffsets() const {
    std::vector<int64_t> offsets;
    for (int64_t block = 0; block < blocks_; ++block)
      for (int64_t tap = 0; tap < TapCount(phase_); ++tap) {
        int64_t rest = tap, offset = 0, step = 1, phase = 0, phases = 1;
        for (int d = phase_.rank - 1; d >= 0; --d) {
          const int64_t at = rest % phase_.kernel[d] * phase_.dilation[d];
          rest /= phase_.kernel[d];
          offset += at / phase_.stride[d] * step;
          phase += at % phase_.stride[d] * phases;
          step *= phase_.in[d], phases *= phase_.stride[d];
        }
        offsets.push_back(block * plane_ + (phase * InCount(phase_) + offset) * lanes_);
      }
    return offsets;
  }

 private:
  // `padded`: a row of padding.
  void Fill(const Window& from, const uint8_t* x, int64_t from_plane, int64_t channels,
            uint8_t* padded, uint8_t* out) const {
    const auto pack = ActiveInt8().pack_b;
    if (!padding_.needed() && phases_ == 1) {
      const int64_t n = plane_ / lanes_;
      return pack(channels, n, n, x, from_plane, flip_, out);
    }
    const Window& w = padding_.window();
    const int last = w.rank - 1;
    const int64_t columns = w.in[last], left = std::min(columns, from.pad_begin[last]);
    const int64_t copied = std::max<int64_t>(0, std::min(from.in[last], columns - left));
    std::memset(out, zero_, static_cast<size_t>(plane_));
    for (int64_t row = 0; row < InCount(w) / columns; ++row) {
      int64_t rest = row, index = 0, stride = 1, to = 0, step = 1, phase = 0, phases = 1;
      bool inside = true;
      for (int d = last - 1; d >= 0; --d) {
        const int64_t place = d > 0 ? rest % w.in[d] : rest, at = place - from.pad_begin[d];
        if (d > 0) rest /= w.in[d];
        inside &= at >= 0 && at < from.in[d];
        index += at * stride;
        to += place / w.stride[d] * step, phase += place % w.stride[d] * phases;
        stride *= from.in[d], step *= phase_.in[d], phases *= w.stride[d];
      }
      if (!inside) continue;
      const uint8_t* source = x + index * from.in[last];
      const int64_t pitch = phase_.in[last] * lanes_;
      if (phases_ == 1) {
        pack(channels, copied, copied, source, from_plane, flip_, out + to * pitch + left * lanes_);
        continue;
      }
      pack(channels, copied, copied, source, from_plane, flip_, padded + left * lanes_);
      const auto gather = lanes_ == 4 ? Int8Functions().gather4 : Int8Functions().gather2;
      for (int64_t p = 0; p < w.stride[last] && p < columns; ++p)
        gather(CeilDiv(columns - p, w.stride[last]), padded + p * lanes_, w.stride[last],
               out + (phase * w.stride[last] + p) * InCount(phase_) * lanes_ + to * pitch);
    }
  }

  Padding padding_;
  int64_t lanes_, blocks_, plane_, phases_ = 1;
  uint8_t zero_, flip_;
  Window phase_;
  uint8_t* data_;
};

// Which positions each panel computes. Flat: neighbours in the padded image, of which some are no
// output positions; else exactly the output positions, gathered. The window has stride 1.
class Positions {
 public:
  explicit Positions(const Window& w) {
    const int64_t nr = ActiveInt8().nr, count = OutCount(w);
    int64_t flat = 1, stride = 1;
    for (int d = w.rank - 1; d >= 0; --d) {
      flat += (w.out[d] - 1) * stride;
      stride *= w.in[d];
    }
    flat_ = flat <= count + count / 4;
    const int64_t total = flat_ ? flat : count;
    firsts_.push_back(0);
    // Rows of output positions, as runs that end with a panel.
    const int last = w.rank - 1;
    for (int64_t row = 0, p = 0; row < count / w.out[last]; ++row) {
      const int64_t source = Source(w, row);
      for (int64_t x = 0; x < w.out[last];) {
        const int64_t at = flat_ ? source + x : p;
        const int64_t n = std::min(w.out[last] - x, nr - at % nr);
        while (panels() < at / nr) firsts_.push_back(static_cast<int64_t>(runs_.size()));
        Add({static_cast<int>(at % nr), n, p}, source + x);
        x += n, p += n;
      }
    }
    while (panels() < CeilDiv(total, nr)) firsts_.push_back(static_cast<int64_t>(runs_.size()));
  }

  bool flat() const { return flat_; }
  int64_t panels() const { return static_cast<int64_t>(firsts_.size()) - 1; }
  const TileRun* begin(int64_t panel) const { return runs_.data() + firsts_[Index(panel)]; }
  const TileRun* end(int64_t panel) const { return runs_.data() + firsts_[Index(panel + 1)]; }

  // The lanes of one panel under each group of K, side by side.
  void Gather(int64_t panel, const uint8_t* image, const std::vector<int64_t>& offsets,
              uint8_t* out) const {
    const int64_t lanes = ActiveInt8().group;
    for (size_t g = 0; g < offsets.size(); ++g, out += ActiveInt8().nr * lanes)
      for (int64_t r = firsts_[Index(panel)]; r < firsts_[Index(panel + 1)]; ++r) {
        const TileRun& run = runs_[Index(r)];
        std::memcpy(out + run.at * lanes, image + offsets[g] + sources_[Index(r)] * lanes,
                    static_cast<size_t>(run.count * lanes));
      }
  }

 private:
  static size_t Index(int64_t i) { return static_cast<size_t>(i); }
  // A run that goes on where the panel's last one ends joins it.
  void Add(const TileRun& run, int64_t source) {
    if (static_cast<int64_t>(runs_.size()) > firsts_.back()) {
      TileRun& before = runs_.back();
      if (before.at + before.count == run.at && before.position + before.count == run.position &&
          sources_.back() + before.count == source) {
        before.count += run.count;
        return;
      }
    }
    runs_.push_back(run);
    sources_.push_back(source);
  }
  // Flat index in the padded image under the first output position of a row.
  static int64_t Source(const Window& w, int64_t row) {
    int64_t offset = 0, stride = w.in[w.rank - 1];
    for (int d = w.rank - 2; d >= 0; --d) {
      offset += (d > 0 ? row % w.out[d] : row) * stride;
      if (d > 0) row /= w.out[d];
      stride *= w.in[d];
    }
    return offset;
  }

  bool flat_;
  std::vector<TileRun> runs_;
  std::vector<int64_t> sources_, firsts_;  // Of each run; the first run of each panel.
};

}  // namespace

PackedConvInt8::PackedConvInt8(const Tensor& w, int64_t group) {
  const int64_t lanes = ActiveInt8().group, channels = w.dim(1);
  const int64_t taps = w.shape().Count(2, w.rank()), rows = w.dim(0) / group;
  const int64_t k = CeilDiv(channels, lanes) * lanes * taps;
  const uint8_t flip = FlipOfA(w.dtype());
  std::vector<uint8_t> mixed(static_cast<size_t>(std::max<int64_t>(rows * k, 1)));
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t o = 0; o < rows; ++o)
      Interleave(channels, taps, lanes, w.data<uint8_t>() + (g * rows + o) * channels * taps, flip,
                 mixed.data() + o * k);
    rows_.emplace_back(rows, k, mixed.data(), k, flip);
  }
  const std::vector<uint8_t> ones(static_cast<size_t>(channels * taps), 1);
  std::vector<uint8_t> summing(static_cast<size_t>(k));
  Interleave(channels, taps, lanes, ones.data(), 0, summing.data());
  ones_ = PackedRows(1, k, summing.data(), k, 0);
}

void ConvInt8(KernelContext& c, const ConvShape& s, const Tensor& x, const PackedConvInt8& w,
              int32_t x_zero, const std::vector<int32_t>& w_zeros, const int32_t* bias,
              const PlaneSink& sink) {
  const Int8Kernels& kernels = ActiveInt8();
  const InterleavedImages images(c, s, x, static_cast<uint8_t>(x_zero));
  const Positions positions(images.window());
  const std::vector<int64_t> taps = images.TapOffsets();
  const auto groups = static_cast<int64_t>(taps.size());
  const std::vector<int64_t> packed = PanelOffsets(groups);
  const bool zeros = std::any_of(w_zeros.begin(), w_zeros.end(), [](int32_t z) { return z != 0; });
  const auto count = static_cast<uint32_t>(s.in_channels * TapCount(images.window()));
  ThreadPool& pool = ThreadPool::Global();
  const int64_t panels = positions.panels(), row_panels = w.rows(0).panels();
  const int64_t slices = s.batch * s.group, jobs = slices * panels;
  // Few positions: the output channels are split too.
  const int64_t splits =
      std::min(row_panels, CeilDiv(2 * pool.num_threads(), std::max<int64_t>(jobs, 1)));
  const int64_t work =
      std::max<int64_t>(1, s.out_channels * kernels.nr * groups * kernels.group / splits);
  pool.ParallelFor(jobs * splits, 1 + (1 << 18) / work, [&](int64_t at, int64_t end) {
    alignas(64) int32_t tile[kMaxInt8Rows * kMaxInt8Columns], sums[kMaxInt8Columns];
    int32_t biases[kMaxInt8Rows], zero[kMaxInt8Rows];
    std::shared_ptr<Buffer> gathered;
    if (!positions.flat())
      gathered = Buffer::Allocate(static_cast<size_t>(groups * kernels.nr * kernels.group));
    for (; at < end; ++at) {
      const int64_t split = at % splits, p = at / splits % panels, slice = at / splits / panels;
      const int64_t g = slice % s.group;
      const uint8_t* b = images.image(slice);
      const std::vector<int64_t>& offsets = positions.flat() ? taps : packed;
      if (positions.flat()) {
        b += p * kernels.nr * kernels.group;
      } else {
        auto* out = reinterpret_cast<uint8_t*>(gathered->data());
        positions.Gather(p, b, taps, out);
        b = out;
      }
      const PackedRows& rows = w.rows(g);
      if (zeros) kernels.ukernel[1](groups, w.ones().panel(0), b, offsets.data(), sums, kernels.nr);
      for (int64_t r = row_panels * split / splits; r < row_panels * (split + 1) / splits; ++r) {
        const int64_t first = rows.begin(r), height = rows.begin(r + 1) - first;
        kernels.ukernel[height](groups, rows.panel(r), b, offsets.data(), tile, kernels.nr);
        const int64_t channel = g * s.out_channels + first;
        for (int64_t i = 0; i < height; ++i) {
          const int32_t w_zero =
              w_zeros[w_zeros.size() == 1 ? 0 : static_cast<size_t>(channel + i)];
          const uint32_t rest =
              static_cast<uint32_t>(rows.sums()[first + i]) - count * static_cast<uint32_t>(w_zero);
          const uint32_t moved = 0u - static_cast<uint32_t>(x_zero) * rest;
          zero[i] = w_zero;
          biases[i] =
              static_cast<int32_t>(moved + (bias ? static_cast<uint32_t>(bias[channel + i]) : 0u));
        }
        TileFinish f;
        f.bias = biases;
        if (zeros) f.columns = sums, f.a_zero = zero;
        sink(slice / s.group, channel, static_cast<int>(height), tile, f, positions.begin(p),
             positions.end(p));
      }
    }
  });
}

}  // namespace toolkit
