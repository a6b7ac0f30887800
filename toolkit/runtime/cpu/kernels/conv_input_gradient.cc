// The gradient of a convolution's input, which is also the transposed convolution.
#include <algorithm>
#include <memory>
#include <string>

#include "core/gemm.h"
#include "kernels/conv_algorithms.h"
#include "kernels/conv_sources.h"
#include "kernels/conv_tiles.h"

namespace toolkit {
namespace {

// Adds the columns (channels x taps, positions) of `channels` channels into dx.
template <class T>
void Col2Im(const Window& w, int64_t channels, const T* columns, T* dx) {
  const int last = w.rank - 1;
  const int64_t positions = OutCount(w), in_count = InCount(w), taps = TapCount(w);
  const int64_t out_columns = w.out[last];
  for (int64_t ch = 0; ch < channels; ++ch) {
    ForEachRow(w, 0, positions / out_columns, [&](int64_t row, int64_t in_row, int64_t tap_row) {
      for (int64_t t = 0; t < w.kernel[last]; ++t) {
        const Span span = InsideSpan(w, last, t);
        const int64_t tap = ch * taps + tap_row * w.kernel[last] + t;
        const int64_t at = span.begin * w.stride[last] + t * w.dilation[last] - w.pad_begin[last];
        RowsOf(T()).axpy_back(span.end - span.begin, T(1),
                              columns + tap * positions + row * out_columns + span.begin,
                              dx + ch * in_count + in_row * w.in[last] + at, w.stride[last]);
      }
    });
  }
}

constexpr int64_t kColumnBytes = 512 * 1024;  // Of one block of columns: stays in L2.

// columns = w^T dy, a block of input channels at a time, added into dx. Blocks are independent.
template <class T>
void InputGradientGemm(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx) {
  const int64_t taps = s.taps(), k = s.in_channels * taps, positions = s.out_count();
  const int64_t in_count = s.in_count();
  const bool unit = IsUnit(s.window);
  const int64_t bytes = taps * positions * static_cast<int64_t>(sizeof(T));
  const int64_t block =
      std::max<int64_t>(1, std::min(s.in_channels, kColumnBytes / std::max<int64_t>(1, bytes)));
  const int64_t blocks = (s.in_channels + block - 1) / block;
  ForEachImage(s.batch * s.group * blocks, [&](int64_t task) {
    const int64_t i = task / blocks, c0 = task % blocks * block, g = i % s.group;
    const int64_t channels = std::min(block, s.in_channels - c0);
    T* image = dx + (i * s.in_channels + c0) * in_count;
    for (int64_t ch = 0; ch < channels; ++ch)
      std::fill(image + ch * in_count, image + (ch + 1) * in_count,
                bias ? bias[g * s.in_channels + c0 + ch] : T(0));
    if (positions == 0) return;
    GemmArgs<T> args = {channels * taps, positions, s.out_channels};
    args.a = w + g * s.out_channels * k + c0 * taps, args.lda = k, args.trans_a = true;
    args.b = dy + i * s.out_channels * positions, args.ldb = positions;
    args.ldc = positions;
    if (unit) {
      args.c = image, args.beta = T(1);
      return Gemm(args);
    }
    const auto buffer = Buffer::Allocate(static_cast<size_t>(channels * bytes));
    args.c = reinterpret_cast<T*>(buffer->data());
    Gemm(args);
    Col2Im(s.window, channels, args.c, image);
  });
}

constexpr int64_t kProductBytes = 512 * 1024;  // Of a tile of columns, in L2 until it is dealt out.

// Tiles of positions: columns = w^T dy, then each row of taps interleaved into a row of dx.
template <class T>
void InputGradientDisjoint(const ConvShape& s, const T* dy, const T* packed, const T* bias, T* dx) {
  const Window& w = s.window;
  const int last = w.rank - 1;
  const int64_t taps = s.taps(), m = s.in_channels * taps, positions = s.out_count();
  const int64_t width = w.out[last], across = w.kernel[last], down = taps / across;
  const int64_t item = static_cast<int64_t>(sizeof(T));
  const int64_t tile = std::max<int64_t>(32, kProductBytes / (m * item) / 32 * 32);
  const int64_t tiles = CeilDiv(positions, tile), in_count = s.in_count();
  ForEachImage(s.batch * s.group * tiles, [&](int64_t task) {
    const int64_t i = task / tiles, g = i % s.group, p0 = task % tiles * tile;
    const int64_t n = std::min(tile, positions - p0);
    const auto buffer = Buffer::Allocate(static_cast<size_t>(m * n * item));
    GemmArgs<T> args = {m, n, s.out_channels};
    args.packed_a = packed + g * m * s.out_channels;
    args.b = dy + i * s.out_channels * positions + p0, args.ldb = positions;
    args.c = reinterpret_cast<T*>(buffer->data()), args.ldc = n;
    Gemm(args);
    for (int64_t ch = 0; ch < s.in_channels; ++ch) {
      const T add = bias ? bias[g * s.in_channels + ch] : T(0);
      T* plane = dx + (i * s.in_channels + ch) * in_count;
      for (int64_t a = 0; a < down; ++a)
        ForEachRun(p0, n, width, [&](int64_t row, int64_t column, int64_t count, int64_t at) {
          RowsOf(T()).interleave(across, count, args.c + (ch * taps + a * across) * n + at, n, add,
                                 plane + ((row * down + a) * width + column) * across);
        });
    }
  });
}

// The convolution that is the adjoint of a convolution of stride 1; false when there is none.
bool AdjointShape(const ConvShape& s, ConvShape* adjoint) {
  *adjoint = s;
  std::swap(adjoint->in_channels, adjoint->out_channels);
  for (int d = 0; d < s.window.rank; ++d) {
    Window& w = adjoint->window;
    std::swap(w.in[d], w.out[d]);
    w.pad_begin[d] = Extent(w, d) - 1 - w.pad_begin[d];
    w.pad_end[d] = Extent(w, d) - 1 - w.pad_end[d];
    if (w.stride[d] != 1 || w.pad_begin[d] < 0) return false;
  }
  return true;
}

template <class T>
void InputGradientAdjoint(const ConvShape& adjoint, ConvChoice choice, const T* dy, const T* w,
                          PackedConvWeights<T>* cache, const T* bias, T* dx) {
  const ConvAlgorithm algorithm =
      ChooseConv(adjoint, ConvPass::kInputGradient, DTypeOf<T>::kValue, choice);
  ConvEpilogue<T> epilogue;
  epilogue.bias = bias;
  const auto buffer = cache ? nullptr : PackConvWeights(adjoint, algorithm, true, w);
  const T* packed =
      cache ? cache->Get(adjoint, algorithm) : reinterpret_cast<const T*>(buffer->data());
  RunConv<T>(adjoint, algorithm, dy, nullptr, packed, epilogue, dx);
}

}  // namespace

std::string DescribeConvInputGradient(const ConvShape& s, DType dtype, ConvChoice choice) {
  ConvShape adjoint;
  if (s.out_count() == 0 || !AdjointShape(s, &adjoint))
    return ChooseDisjoint(s, choice) ? ConvAlgorithmName(ConvAlgorithm::kDisjoint) : "gemm";
  return ConvAlgorithmName(ChooseConv(adjoint, ConvPass::kInputGradient, dtype, choice));
}

template <class T>
void ConvInputGradient(const ConvShape& s, ConvChoice choice, const T* dy, const T* w,
                       PackedConvWeights<T>* cache, const T* bias, T* dx) {
  if (s.batch * s.group * s.in_channels * s.in_count() == 0) return;
  ConvShape adjoint;
  if (s.out_count() > 0 && AdjointShape(s, &adjoint))
    return InputGradientAdjoint(adjoint, choice, dy, w, cache, bias, dx);
  if (ChooseDisjoint(s, choice)) {
    const auto buffer = cache ? nullptr : PackConvWeights(s, ConvAlgorithm::kDisjoint, true, w);
    const T* packed = cache ? cache->Get(s, ConvAlgorithm::kDisjoint)
                            : reinterpret_cast<const T*>(buffer->data());
    return InputGradientDisjoint(s, dy, packed, bias, dx);
  }
  InputGradientGemm(s, dy, w, bias, dx);
}

#define TK_CONV(T)                                                                     \
  template void ConvInputGradient<T>(const ConvShape&, ConvChoice, const T*, const T*, \
                                     PackedConvWeights<T>*, const T*, T*);
TK_CONV(float)
TK_CONV(double)
#undef TK_CONV

}  // namespace toolkit
