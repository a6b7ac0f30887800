// toolkit.fused.QConvNhwc: QLinearConv of uint8 with signed constant weights, channels last.
//
// Pass over memory: tiles of positions read x in place through a pointer a tap; padding is a row of
// zero points. Channels that are no multiple of 4 are padded in a copy, and the image with them.
// Split over tiles and blocks of output channels whose weights stay in the second-level cache.
#include "simd/conv_nhwc.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/conv_algorithms.h"
#include "kernels/gemm_int8.h"
#include "kernels/nhwc.h"
#include "kernels/quantize.h"

namespace toolkit {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

const NhwcKernels& ActiveNhwc() {
  return &ActiveInt8() == &Int8Functions().vnni ? NhwcFunctions().vnni : NhwcFunctions().plain;
}

// Weights (O, C, H, W) of each group by panels of 32 output channels, (tap, group of 4 channels,
// column, channel); depthwise by blocks of 64 channels, (quad of taps, lane, tap).
class PackedNhwc {
 public:
  PackedNhwc() = default;
  PackedNhwc(const Tensor& w, int64_t group) {
    const int64_t outputs = w.dim(0), channels = w.dim(1), taps = w.shape().Count(2, w.rank());
    const int8_t* from = w.data<int8_t>();
    depthwise_ = group > 1 && channels == 1 && outputs == group;
    sums_.assign(static_cast<size_t>(outputs), 0);
    for (int64_t i = 0; i < w.size(); ++i)
      sums_[static_cast<size_t>(i / (channels * taps))] += from[i];
    const int64_t quads = depthwise_ ? CeilDiv(taps, 4) : CeilDiv(channels, 4) * taps;
    const int64_t width = depthwise_ ? kNhwcBlock : kNhwcColumns;
    const int64_t each = outputs / (depthwise_ ? 1 : group);  // Outputs that share panels.
    const int64_t panels = CeilDiv(each, width);
    panel_ = quads * width * 4;
    const int64_t count = panels * (depthwise_ ? 1 : group);
    data_ = Buffer::Allocate(static_cast<size_t>(std::max<int64_t>(1, count * panel_)));
    auto* to = reinterpret_cast<int8_t*>(data_->data());
    std::memset(to, 0, static_cast<size_t>(count * panel_));
    for (int64_t o = 0; o < outputs; ++o) {
      const int64_t panel = o / each * panels + o % each / width, j = o % each % width;
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t t = 0; t < taps; ++t) {
          const int64_t at = depthwise_
                                 ? (t / 4 * width + LaneOf(j)) * 4 + t % 4
                                 : ((t * CeilDiv(channels, 4) + c / 4) * width + j) * 4 + c % 4;
          const int8_t value = from[(o * channels + c) * taps + t];
          to[panel * panel_ + at] = value;
          if (depthwise_ && IsTwice(o, outputs)) to[panel * panel_ + at + 4 * kTwin] = value;
        }
    }
  }

  static int64_t LaneOf(int64_t channel) {
    return channel % 16 / 4 * 16 + channel / 16 * 4 + channel % 4;
  }
  // Whether the block of a channel has it twice: lanes of channel + 32 are kTwin behind.
  static bool IsTwice(int64_t channel, int64_t channels) {
    return channels - channel / kNhwcBlock * kNhwcBlock <= kNhwcBlock / 2;
  }
  static constexpr int64_t kTwin = 8;
  bool defined() const { return data_ != nullptr; }
  bool depthwise() const { return depthwise_; }
  size_t bytes() const { return data_ ? data_->bytes() : 0; }
  const int8_t* panel(int64_t i) const {
    return reinterpret_cast<const int8_t*>(data_->data()) + i * panel_;
  }
  int64_t panel_bytes() const { return panel_; }
  const std::vector<int32_t>& sums() const { return sums_; }

 private:
  std::shared_ptr<Buffer> data_;
  std::vector<int32_t> sums_;
  int64_t panel_ = 0;
  bool depthwise_ = false;
};

// (x, x_scale, x_zero, w, w_scale, y_scale, y_zero, B) -> y; x (N, H, W, C) or rows (M, C) under
// weights (O, C). All but x as QLinearConv has them.
class QConvNhwc : public Kernel {
 public:
  explicit QConvNhwc(const Attributes& a) : window_(a), group_(a.Int("group", 1)) {
    TK_REQUIRE(group_ >= 1, ErrorKind::kInvalidArgument, "group must be at least 1, got ", group_);
  }

  void Prepack(int input, const Tensor& w) override {
    if (input == 3 && IsFit(w)) packed_ = PackedNhwc(w, group_);
  }
  bool NeedsConstant(int input) const override { return input != 3 || !packed_.defined(); }
  size_t PackedBytes() const override { return packed_.bytes(); }

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &w = c.input(3), *bias = c.optional_input(7);
    TK_REQUIRE(IsFit(w) && (x.rank() == 4 || x.rank() == 2) && x.rank() == w.rank(),
               ErrorKind::kShape,
               "x must be (N, H, W, C) or (M, C), w int8 of its rank and of a multiple of group ",
               group_, " outputs, got ", x.shape().ToString(), " and ", w.shape().ToString());
    const int64_t channels = x.dim(x.rank() - 1), outputs = w.dim(0);
    TK_REQUIRE(w.dim(1) * group_ == channels, ErrorKind::kShape,
               "x's channels must be group x w's, got ", x.shape().ToString(), " and ",
               w.shape().ToString());
    const float x_scale = OneScale(c, 1), y_scale = OneScale(c, 5);
    const int32_t zero = OneZero(c, 2, DType::kUInt8), y_zero = OneZero(c, 6, DType::kUInt8);
    const Tensor& w_scale = c.input(4);
    TK_REQUIRE(
        w_scale.dtype() == DType::kFloat && (w_scale.size() == 1 || w_scale.size() == outputs),
        ErrorKind::kShape, "w_scale must be one or ", outputs, " float32 numbers, got ",
        w_scale.shape().ToString(), " of ", Name(w_scale.dtype()));
    TK_REQUIRE(!bias || (bias->dtype() == DType::kInt32 && bias->size() == outputs),
               ErrorKind::kShape, "B must have ", outputs, " int32 elements, got ",
               bias->shape().ToString(), " of ", Name(bias->dtype()));
    const Window window = WindowOf(x, w);
    Shape shape = {x.dim(0), outputs};
    if (x.rank() == 4) shape = {x.dim(0), window.out[0], window.out[1], outputs};
    const Tensor& y = c.Output(0, DType::kUInt8, shape);
    if (y.size() == 0) return;
    const PackedNhwc packed = packed_.defined() ? packed_ : PackedNhwc(w, group_);
    const int64_t width = packed.depthwise() ? kNhwcBlock : kNhwcColumns;
    const int64_t each = outputs / (packed.depthwise() ? 1 : group_), panels = CeilDiv(each, width);
    const int64_t padded = panels * width;
    int32_t* init = c.Scratch<int32_t>(padded * (outputs / each));
    float* multiplier = c.Scratch<float>(padded * (outputs / each));
    std::fill_n(init, padded * (outputs / each), 0);
    std::fill_n(multiplier, padded * (outputs / each), 0.0f);
    for (int64_t o = 0; o < outputs; ++o) {
      const int64_t j = o % each;
      const int64_t at =
          o / each * padded +
          (packed.depthwise() ? j / width * width + PackedNhwc::LaneOf(j % width) : j);
      const uint32_t moved = static_cast<uint32_t>(zero) *
                             static_cast<uint32_t>(packed.sums()[static_cast<size_t>(o)]);
      init[at] = static_cast<int32_t>(
          (bias ? static_cast<uint32_t>(bias->data<int32_t>()[o]) : 0u) - moved);
      multiplier[at] = x_scale * w_scale.data<float>()[w_scale.size() == 1 ? 0 : o] / y_scale;
      if (packed.depthwise() && PackedNhwc::IsTwice(o, outputs)) {
        init[at + PackedNhwc::kTwin] = init[at];
        multiplier[at + PackedNhwc::kTwin] = multiplier[at];
      }
    }
    NhwcFinish f = {init, multiplier, y_zero, 0, y.data<uint8_t>(), outputs};
    if (packed.depthwise())
      Depthwise(c, x, window, packed, f);
    else
      Tiles(c, x, window, packed, f, each);
  }

 private:
  bool IsFit(const Tensor& w) const {
    return w.dtype() == DType::kInt8 && (w.rank() == 4 || w.rank() == 2) && w.size() > 0 &&
           w.dim(0) % group_ == 0;
  }

  // Of rows: one column of positions.
  Window WindowOf(const Tensor& x, const Tensor& w) const {
    if (x.rank() == 2) {
      Window rows = {};
      rows.rank = 2;
      for (int d = 0; d < 2; ++d)
        rows.in[d] = rows.out[d] = rows.kernel[d] = rows.stride[d] = rows.dilation[d] = 1;
      return rows;
    }
    return window_.Resolve({x.dim(0), x.dim(3), x.dim(1), x.dim(2)}, {w.dim(2), w.dim(3)}, false);
  }

  // x with channels to a multiple of 4 and its padding around it: `w` needs none then.
  static const uint8_t* Padded(KernelContext& c, const Tensor& x, Window& w, int64_t channels,
                               uint8_t zero) {
    const int64_t from = x.dim(x.rank() - 1), height = w.in[0], width = w.in[1];
    const Window old = w;
    for (int d = 0; d < 2; ++d) {
      w.in[d] += w.pad_begin[d] + w.pad_end[d];
      w.pad_begin[d] = w.pad_end[d] = 0;
    }
    const int64_t batch = x.dim(0);
    int64_t bytes = 0;
    TK_REQUIRE(!__builtin_mul_overflow(InCount(w), batch * channels, &bytes), ErrorKind::kMemory,
               "out of memory: x with its padding does not fit");
    auto* to = c.Scratch<uint8_t>(bytes);
    c.pool().ParallelFor(
        batch * w.in[0], 1 + 16384 / (w.in[1] * channels), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            uint8_t* out = to + r * w.in[1] * channels;
            const int64_t row = r % w.in[0] - old.pad_begin[0];
            std::memset(out, zero, static_cast<size_t>(w.in[1] * channels));
            if (row < 0 || row >= height || width == 0) continue;
            const uint8_t* in = x.data<uint8_t>() + (r / w.in[0] * height + row) * width * from;
            out += old.pad_begin[1] * channels;
            const auto each = static_cast<size_t>(from);
            if (from == 3)  // The fourth byte meets weights of zero.
              for (int64_t i = 0; i + 1 < width; ++i) std::memcpy(out + i * 4, in + i * from, 4);
            else
              for (int64_t i = 0; i + 1 < width; ++i)
                std::memcpy(out + i * channels, in + i * from, each);
            std::memcpy(out + (width - 1) * channels, in + (width - 1) * from,
                        static_cast<size_t>(from));
          }
        });
    return to;
  }

  void Tiles(KernelContext& c, const Tensor& x, const Window& window, const PackedNhwc& packed,
             const NhwcFinish& finish, int64_t each) const {
    const NhwcKernels& kernels = ActiveNhwc();
    const int64_t outputs = finish.out_ld;
    Window w = window;
    int64_t channels = x.dim(x.rank() - 1), taps = w.kernel[0] * w.kernel[1];
    const uint8_t zero = *c.input(2).data<uint8_t>();
    const uint8_t* image = x.data<uint8_t>();
    const int64_t positions = x.dim(0) * w.out[0] * w.out[1];
    int64_t groups = CeilDiv(channels / group_, 4);
    if (channels / group_ % 4 != 0) {
      TK_REQUIRE(group_ == 1, ErrorKind::kShape,
                 "channels of a group must be a multiple of 4, got ", channels / group_);
      channels = groups * 4;
      image = Padded(c, x, w, channels, zero);
      if (w.dilation[1] == 1) {  // The taps of a row lie side by side.
        taps = w.kernel[0], groups *= w.kernel[1];
        w.kernel[1] = 1;
      }
    }
    auto* padding = c.Scratch<uint8_t>(channels);
    std::memset(padding, zero, static_cast<size_t>(channels));
    const NhwcTaps source(w, image, channels, padding);
    const int64_t tiles = CeilDiv(positions, kernels.mr), panels = CeilDiv(each, kNhwcColumns);
    const int64_t wanted = 2 * c.pool().num_threads();
    int64_t block =
        std::clamp<int64_t>((256 << 10) / std::max<int64_t>(packed.panel_bytes(), 1), 1, panels);
    if (tiles * group_ < wanted)
      block = std::min(block, std::max<int64_t>(1, panels * tiles * group_ / wanted));
    const int64_t blocks = CeilDiv(panels, block), jobs = group_ * blocks * tiles;
    const int64_t work = block * packed.panel_bytes() * kernels.mr;
    c.pool().ParallelFor(jobs, 1 + (1 << 18) / work, [&](int64_t at, int64_t end) {
      std::vector<const uint8_t*> pointers(static_cast<size_t>(taps * kernels.mr));
      for (; at < end; ++at) {
        const int64_t tile = at % tiles, g = at / tiles / blocks;
        const int64_t first = at / tiles % blocks * block, last = std::min(panels, first + block);
        const int64_t begin = positions * tile / tiles,
                      rows = positions * (tile + 1) / tiles - begin;
        source.Fill(begin, rows, 1, rows, pointers.data());
        if (group_ > 1)
          for (int64_t i = 0; i < taps * rows; ++i) {
            auto& p = pointers[static_cast<size_t>(i)];
            if (p != padding) p += g * channels / group_;
          }
        for (int64_t panel = first; panel < last; ++panel) {
          NhwcFinish f = finish;
          f.init += (g * panels + panel) * kNhwcColumns;
          f.multiplier += (g * panels + panel) * kNhwcColumns;
          f.columns =
              static_cast<int>(std::min<int64_t>(kNhwcColumns, each - panel * kNhwcColumns));
          f.out += begin * outputs + g * each + panel * kNhwcColumns;
          kernels.tile[rows](pointers.data(), taps, groups, packed.panel(g * panels + panel), f);
        }
      }
    });
  }

  void Depthwise(KernelContext& c, const Tensor& x, const Window& w, const PackedNhwc& packed,
                 const NhwcFinish& finish) const {
    const NhwcKernels& kernels = ActiveNhwc();
    const int64_t channels = finish.out_ld, taps = w.kernel[0] * w.kernel[1];
    const int64_t quads = CeilDiv(taps, 4), columns = w.out[1];
    auto* padding = c.Scratch<uint8_t>(channels);
    std::memset(padding, *c.input(2).data<uint8_t>(), static_cast<size_t>(channels));
    const NhwcTaps source(w, x.data<uint8_t>(), channels, padding);
    const int64_t rows = x.dim(0) * w.out[0];
    const int64_t work = std::max<int64_t>(1, columns * channels * taps);
    c.pool().ParallelFor(rows, 1 + (1 << 17) / work, [&](int64_t row, int64_t end) {
      std::vector<const uint8_t*> pointers(static_cast<size_t>(columns * quads * 4), padding);
      for (; row < end; ++row) {
        source.Fill(row * columns, columns, quads * 4, 1, pointers.data());
        for (int64_t at = 0; at < channels; at += kNhwcBlock) {
          NhwcFinish f = finish;
          f.init += at, f.multiplier += at;
          f.columns = static_cast<int>(std::min<int64_t>(kNhwcBlock, channels - at));
          f.out += row * columns * channels + at;
          kernels.depthwise(pointers.data(), columns, quads, at, packed.panel(at / kNhwcBlock), f);
        }
      }
    });
  }

  WindowAttributes window_;
  int64_t group_;
  PackedNhwc packed_;
};

static const bool kQConvNhwc =
    Register<QConvNhwc>("QConvNhwc").Types(Bit(DType::kUInt8)).Domain("toolkit.fused");

}  // namespace
}  // namespace toolkit
