// The gradient of a convolution's input, which is also the transposed convolution.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/gemm.h"
#include "kernels/conv_algorithms.h"
#include "kernels/conv_sources.h"
#include "kernels/conv_tiles.h"

namespace toolkit {
namespace {

// dx = bias + the columns (channels x taps, positions) at their places. The columns of a row of dx
// under one residue of the stride lie side by side while they are added up, then they are dealt
// out.
template <class T>
class Col2Im {
 public:
  explicit Col2Im(const Window& w)
      : w_(w),
        last_(w.rank - 1),
        stride_(w.stride[last_]),
        phases_(std::min(stride_, w.in[last_])),
        pitch_(CeilDiv(w.in[last_], stride_)),
        sums_(stride_ > 1 ? InCount(w) / w.in[last_] * phases_ * pitch_ : 0) {}

  // `bias`: of each channel, or null.
  void Run(int64_t channels, const T* columns, const T* bias, T* dx) {
    const int64_t in_count = InCount(w_), positions = OutCount(w_), taps = TapCount(w_);
    for (int64_t c = 0; c < channels; ++c) {
      const T* from = columns + c * taps * positions;
      T* plane = dx + c * in_count;
      const T first = bias ? bias[c] : T(0);
      if (stride_ == 1) {
        std::fill(plane, plane + in_count, first);
        Add(from, plane, w_.in[last_]);
        continue;
      }
      std::fill(sums_.begin(), sums_.end(), T(0));
      Add(from, sums_.data(), phases_ * pitch_);
      Deal(first, plane);
    }
  }

 private:
  void Add(const T* columns, T* to, int64_t row_size) const {
    const int64_t out_columns = w_.out[last_], positions = OutCount(w_);
    ForEachRow(w_, 0, positions / out_columns, [&](int64_t row, int64_t in_row, int64_t tap_row) {
      for (int64_t t = 0; t < w_.kernel[last_]; ++t) {
        const Span span = InsideSpan(w_, last_, t);
        if (span.begin == span.end) continue;
        const int64_t tap = tap_row * w_.kernel[last_] + t;
        const int64_t at = span.begin * stride_ + t * w_.dilation[last_] - w_.pad_begin[last_];
        RowsOf(T()).axpy_back(span.end - span.begin, T(1),
                              columns + tap * positions + row * out_columns + span.begin,
                              to + in_row * row_size + at % stride_ * pitch_ + at / stride_, 1);
      }
    });
  }

  void Deal(T bias, T* plane) const {
    const int64_t width = w_.in[last_], rows = InCount(w_) / width;
    const int64_t whole = phases_ == stride_ ? width / stride_ : 0;
    for (int64_t r = 0; r < rows; ++r) {
      const T* from = sums_.data() + r * phases_ * pitch_;
      T* row = plane + r * width;
      RowsOf(T()).interleave(stride_, whole, from, pitch_, bias, row);
      for (int64_t i = whole * stride_; i < width; ++i)
        row[i] = from[i % stride_ * pitch_ + i / stride_] + bias;
    }
  }

  const Window& w_;
  int last_;
  int64_t stride_, phases_, pitch_;
  std::vector<T> sums_;
};

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
    const T* first = bias ? bias + g * s.in_channels + c0 : nullptr;
    if (unit || positions == 0)
      for (int64_t ch = 0; ch < channels; ++ch)
        std::fill(image + ch * in_count, image + (ch + 1) * in_count, first ? first[ch] : T(0));
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
    Col2Im<T>(s.window).Run(channels, args.c, first, image);
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
  if (cache)
    RunConv<T>(adjoint, algorithm, dy, nullptr, cache->Get(adjoint, algorithm), epilogue, dx);
  else
    RunConvOnce(adjoint, algorithm, true, dy, w, epilogue, dx);
}

}  // namespace

std::string DescribeConvInputGradient(const ConvShape& s, DType dtype, ConvChoice choice) {
  ConvShape adjoint;
  if (s.out_count() == 0 || !AdjointShape(s, &adjoint))
    return ConvAlgorithmName(ChooseInputGradient(s, choice));
  return ConvAlgorithmName(ChooseConv(adjoint, ConvPass::kInputGradient, dtype, choice));
}

template <class T>
void ConvInputGradient(const ConvShape& s, ConvChoice choice, const T* dy, const T* w,
                       PackedConvWeights<T>* cache, const T* bias, T* dx) {
  if (s.batch * s.group * s.in_channels * s.in_count() == 0) return;
  ConvShape adjoint;
  if (s.out_count() > 0 && AdjointShape(s, &adjoint))
    return InputGradientAdjoint(adjoint, choice, dy, w, cache, bias, dx);
  const ConvAlgorithm algorithm = ChooseInputGradient(s, choice);
  if (algorithm == ConvAlgorithm::kIm2Col) return InputGradientGemm(s, dy, w, bias, dx);
  const auto buffer = cache ? nullptr : PackConvWeights(s, algorithm, true, w);
  const T* packed = cache ? cache->Get(s, algorithm) : reinterpret_cast<const T*>(buffer->data());
  if (algorithm == ConvAlgorithm::kDisjoint) return InputGradientDisjoint(s, dy, packed, bias, dx);
  InputGradientPhases(s, dy, packed, bias, dx);
}

#define TK_CONV(T)                                                                     \
  template void ConvInputGradient<T>(const ConvShape&, ConvChoice, const T*, const T*, \
                                     PackedConvWeights<T>*, const T*, T*);
TK_CONV(float)
TK_CONV(double)
#undef TK_CONV

}  // namespace toolkit
