// Passes over memory: a plane is padded into a cache, its positions are computed by blocks, several
// rows in one where that wastes less, and copied to the output. Planes are shared out.
#include "kernels/conv_int8_depthwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/plane.h"

namespace toolkit {

namespace {

constexpr int64_t kSlack = 8 * kTapBlock;  // Bytes that blocks read beyond a plane.

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Of a plane: how many blocks at which distance, and where rows of the result lie in them.
struct Blocks {
  explicit Blocks(const Window& w) {
    const int last = w.rank - 1;
    columns = w.out[last], rows = OutCount(w) / columns;
    const int64_t width = w.in[last], down = w.rank == 2 ? w.stride[0] : 1;
    const int64_t flat = (rows - 1) * width + columns;
    const bool joined =
        down == w.stride[last] && CeilDiv(flat, kTapBlock) <= rows * CeilDiv(columns, kTapBlock);
    calls = joined ? 1 : rows;
    count = joined ? flat : columns;
    row_step = joined ? width : CeilDiv(columns, kTapBlock) * kTapBlock;
    in_step = down * width;
  }
  int64_t results() const {
    return calls == 1 ? CeilDiv(count, kTapBlock) * kTapBlock : calls * row_step;
  }
  int64_t rows, columns;
  int64_t calls, count;  // So many positions each,
  int64_t in_step;       // so far apart in the padded plane;
  int64_t row_step;      // rows of the result are so far apart.
};

// Weights less their zero points as signed bytes, by quads of taps; false where they do not fit.
bool PackTaps(const ConvShape& s, const Tensor& w, const std::vector<int32_t>& zeros, int64_t quads,
              std::vector<int32_t>& packed, std::vector<int32_t>& sums) {
  const int64_t channels = s.group * s.out_channels, taps = TapCount(s.window);
  const uint8_t flip = FlipOfA(w.dtype());
  std::vector<int8_t> bytes(static_cast<size_t>(channels * quads * 4));
  sums.assign(static_cast<size_t>(channels), 0);
  for (int64_t o = 0; o < channels; ++o) {
    const int32_t zero = zeros[zeros.size() == 1 ? 0 : static_cast<size_t>(o)];
    for (int64_t t = 0; t < taps; ++t) {
      const int32_t v = static_cast<int8_t>(w.data<uint8_t>()[o * taps + t] ^ flip) - zero;
      if (v < -128 || v > 127) return false;
      bytes[static_cast<size_t>(o * quads * 4 + t)] = static_cast<int8_t>(v);
      sums[static_cast<size_t>(o)] += v;
    }
  }
  packed.resize(static_cast<size_t>(channels * quads));
  std::memcpy(packed.data(), bytes.data(), bytes.size());
  return true;
}

}  // namespace

bool DepthwiseInt8(KernelContext& c, const ConvShape& s, const Tensor& x, const Tensor& w,
                   int32_t x_zero, const std::vector<int32_t>& w_zeros, const int32_t* bias,
                   const DepthwiseOutput& out) {
  const int last = s.window.rank - 1;
  if (s.in_channels != 1 || s.group < 2 || s.window.rank > 2 || s.window.stride[last] > 2)
    return false;
  const int64_t taps = TapCount(s.window), quads = CeilDiv(taps, 4);
  std::vector<int32_t> weights, sums;
  if (!PackTaps(s, w, w_zeros, quads, weights, sums)) return false;
  const Padding padding(s.window);
  const Window& inner = padding.window();
  const Blocks blocks(inner);
  std::vector<int64_t> offsets(static_cast<size_t>(4 * quads), 0);
  for (int64_t t = 0; t < taps; ++t) {
    const int64_t across = t % inner.kernel[last], down = t / inner.kernel[last];
    offsets[static_cast<size_t>(t)] =
        across * inner.dilation[last] + (last ? down * inner.dilation[0] * inner.in[last] : 0);
  }
  const Int8Kernels& kernels = ActiveInt8();
  const auto run = out.y.dtype() == DType::kInt32  ? kernels.taps_to_int32
                   : out.y.dtype() == DType::kInt8 ? kernels.taps_to_int8
                                                   : kernels.taps_to_uint8;
  const bool is_signed = out.y.dtype() == DType::kInt8;
  const auto item = static_cast<int64_t>(ItemSize(out.y.dtype()));
  const int64_t in_plane = InCount(s.window), plane = InCount(inner), out_plane = OutCount(inner);
  const uint8_t flip = FlipOfB(x.dtype());
  const auto fill = static_cast<uint8_t>(x_zero ^ flip);
  const int64_t work = std::max<int64_t>(1, s.out_channels * out_plane * taps);
  c.pool().ParallelFor(s.batch * s.group, 1 + (1 << 16) / work, [&](int64_t begin, int64_t end) {
    const int64_t bytes = CeilDiv(plane + kSlack, kTapBlock) * kTapBlock;
    const auto space = Buffer::Allocate(static_cast<size_t>(bytes + blocks.results() * item));
    auto* padded = reinterpret_cast<uint8_t*>(space->data());
    char* results = space->data() + bytes;
    std::memset(padded + plane, 0, static_cast<size_t>(bytes - plane));
    for (int64_t i = begin; i < end; ++i) {
      padding.Copy(x.data<uint8_t>() + i * in_plane, fill, padded);
      if (flip)
        for (int64_t j = 0; j < plane; ++j) padded[j] ^= flip;
      for (int64_t m = 0; m < s.out_channels; ++m) {
        const int64_t o = i % s.group * s.out_channels + m;
        const auto moved = 0u - static_cast<uint32_t>(x_zero) *
                                    static_cast<uint32_t>(sums[static_cast<size_t>(o)]);
        Int8Taps t = {offsets.data(), weights.data() + o * quads, quads,
                      static_cast<int>(inner.stride[last])};
        t.bias = static_cast<int32_t>(moved + (bias ? static_cast<uint32_t>(bias[o]) : 0u));
        t.zero = out.zero;
        t.low = static_cast<float>((is_signed ? -128 : 0) - out.zero), t.high = t.low + 255;
        if (out.multipliers) t.multiplier = out.multipliers[o];
        for (int64_t r = 0; r < blocks.calls; ++r)
          run(t, padded + r * blocks.in_step, blocks.count, results + r * blocks.row_step * item);
        char* to = static_cast<char*>(out.y.raw()) +
                   (i / s.group * s.group * s.out_channels + o) * out_plane * item;
        for (int64_t r = 0; r < blocks.rows; ++r)
          std::memcpy(to + r * blocks.columns * item, results + r * blocks.row_step * item,
                      static_cast<size_t>(blocks.columns * item));
      }
    }
  });
  return true;
}

}  // namespace toolkit
