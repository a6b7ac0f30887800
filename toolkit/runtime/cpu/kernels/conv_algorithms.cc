#include "kernels/conv_algorithms.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/gemm.h"
#include "kernels/window.h"

namespace toolkit {

int64_t ConvShape::in_count() const { return InCount(window); }
int64_t ConvShape::out_count() const { return OutCount(window); }
int64_t ConvShape::taps() const { return TapCount(window); }

namespace {

const WindowRows<float>& RowsOf(float) { return WindowSimd().f32; }
const WindowRows<double>& RowsOf(double) { return WindowSimd().f64; }

bool IsUnit(const Window& w) {
  for (int d = 0; d < w.rank; ++d)
    if (w.kernel[d] != 1 || w.stride[d] != 1 || w.pad_begin[d] != 0 || w.pad_end[d] != 0)
      return false;
  return true;
}

// Every image and group on its own when there are enough of them for the threads, else one after
// the other, each split by Gemm.
template <class Fn>
void ForEachImage(int64_t count, Fn&& fn) {
  ThreadPool& pool = ThreadPool::Global();
  if (count < 2 * pool.num_threads()) {
    for (int64_t i = 0; i < count; ++i) fn(i);
    return;
  }
  pool.ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(i);
  });
}

// (K = channels x taps, N = output positions) of one image.
template <class T>
class Im2ColSource : public PanelSource<T> {
 public:
  Im2ColSource(const Window& window, const T* x) : window_(window), x_(x) {}
  void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width, T* out) const override {
    RowsOf(T()).im2col(window_, x_, k0, kc, n0, n, width, out);
  }

 private:
  const Window& window_;
  const T* x_;
};

// Its transpose over a batch: (K = images x output positions, N = channels x taps).
template <class T>
class Im2ColTransposedSource : public PanelSource<T> {
 public:
  Im2ColTransposedSource(const Window& window, const T* x, int64_t image_stride)
      : window_(window), x_(x), image_stride_(image_stride), positions_(OutCount(window)) {}

  void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width, T* out) const override {
    constexpr int64_t kSpan = 64, kMaxWidth = 64;
    T span[kMaxWidth * kSpan];
    for (int64_t k = k0; k < k0 + kc;) {
      const int64_t image = k / positions_, p = k % positions_;
      const int64_t count = std::min({kSpan, k0 + kc - k, positions_ - p});
      RowsOf(T()).im2col(window_, x_ + image * image_stride_, n0, n, p, count, count, span);
      T* to = out + (k - k0) * width;
      GemmTranspose<T>(n, count, span, count, width, to);
      k += count;
    }
  }

 private:
  const Window& window_;
  const T* x_;
  int64_t image_stride_, positions_;
};

template <class T>
void ForwardGemm(const ConvShape& s, bool pointwise, const T* x, const T* w, const T* packed_w,
                 const T* bias, T* y) {
  const int64_t k = s.in_channels * s.taps(), out_count = s.out_count(), in_count = s.in_count();
  ForEachImage(s.batch * s.group, [&](int64_t i) {
    const int64_t g = i % s.group;
    const T* image = x + i * s.in_channels * in_count;
    const Im2ColSource<T> source(s.window, image);
    GemmArgs<T> args = {s.out_channels, out_count, k};
    args.a = w + g * s.out_channels * k, args.lda = k;
    if (packed_w) args.packed_a = packed_w + g * s.out_channels * k;
    if (pointwise)
      args.b = image, args.ldb = in_count;
    else
      args.b_source = &source;
    if (bias) args.row_bias = bias + g * s.out_channels;
    args.c = y + i * s.out_channels * out_count, args.ldc = out_count;
    Gemm(args);
  });
}

// One input channel a group: each output row is a few scaled input rows. Parallel over planes.
template <class T>
void ForwardDepthwise(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  const Window& win = s.window;
  const int last = win.rank - 1;
  const int64_t out_count = s.out_count(), in_count = s.in_count(), taps = s.taps();
  const int64_t out_columns = win.out[last], in_columns = win.in[last];
  const int64_t channels = s.group * s.out_channels;
  const int64_t grain = 1 + 16384 / std::max<int64_t>(1, out_count * taps);
  ThreadPool::Global().ParallelFor(s.batch * channels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i % channels;
      const T* image = x + i / s.out_channels * in_count;
      T* out = y + i * out_count;
      std::fill(out, out + out_count, bias ? bias[o] : T(0));
      ForEachRow(win, 0, out_count / std::max<int64_t>(1, out_columns),
                 [&](int64_t row, int64_t in_row, int64_t tap_row) {
                   for (int64_t t = 0; t < win.kernel[last]; ++t) {
                     const Span span = InsideSpan(win, last, t);
                     const int64_t at = span.begin * win.stride[last] + t * win.dilation[last] -
                                        win.pad_begin[last];
                     RowsOf(T()).axpy(span.end - span.begin,
                                      w[o * taps + tap_row * win.kernel[last] + t],
                                      image + in_row * in_columns + at, win.stride[last],
                                      out + row * out_columns + span.begin);
                   }
                 });
    }
  });
}

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

// dw = dy im2col(x)^T with K running over the whole batch in order.
template <class T>
void WeightGradientGemm(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const int64_t k = s.in_channels * s.taps(), positions = s.out_count(), in_count = s.in_count();
  const int64_t rows = s.out_channels, image_rows = s.group * rows;
  // dy of a group with the images of each channel side by side.
  const T* left = dy;
  std::shared_ptr<Buffer> buffer;
  if (s.batch > 1) {
    const int64_t count = s.batch * image_rows * positions;
    buffer = Buffer::Allocate(static_cast<size_t>(count) * sizeof(T));
    T* copy = reinterpret_cast<T*>(buffer->data());
    ThreadPool::Global().ParallelFor(image_rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for (int64_t n = 0; n < s.batch; ++n)
          std::memcpy(copy + (o * s.batch + n) * positions, dy + (n * image_rows + o) * positions,
                      static_cast<size_t>(positions) * sizeof(T));
    });
    left = copy;
  }
  ForEachImage(s.group, [&](int64_t g) {
    const Im2ColTransposedSource<T> source(s.window, x + g * s.in_channels * in_count,
                                           s.group * s.in_channels * in_count);
    GemmArgs<T> args = {rows, k, s.batch * positions};
    args.a = left + g * rows * s.batch * positions, args.lda = s.batch * positions;
    args.b_source = &source;
    args.c = dw + g * rows * k, args.ldc = k;
    Gemm(args);
  });
}

}  // namespace

ConvAlgorithm ChooseConv(const ConvShape& s) {
  if (s.in_channels == 1 && s.group > 1 && s.out_channels <= 4) return ConvAlgorithm::kDepthwise;
  return IsUnit(s.window) ? ConvAlgorithm::kPointwise : ConvAlgorithm::kIm2Col;
}

template <class T>
void ConvForward(const ConvShape& s, const T* x, const T* w, const T* packed_w, const T* bias,
                 T* y) {
  if (s.batch * s.group * s.out_channels * s.out_count() == 0) return;
  const ConvAlgorithm algorithm = ChooseConv(s);
  if (algorithm == ConvAlgorithm::kDepthwise) return ForwardDepthwise(s, x, w, bias, y);
  ForwardGemm(s, algorithm == ConvAlgorithm::kPointwise, x, w, packed_w, bias, y);
}

template <class T>
void ConvInputGradient(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx) {
  if (s.batch * s.group * s.in_channels * s.in_count() == 0) return;
  InputGradientGemm(s, dy, w, bias, dx);
}

template <class T>
void ConvWeightGradient(const ConvShape& s, const T* x, const T* dy, T* dw) {
  if (s.group * s.out_channels * s.in_channels == 0) return;
  WeightGradientGemm(s, x, dy, dw);
}

template <class T>
int64_t PackedConvWeightSize(int64_t group, int64_t out_channels, int64_t k) {
  return group * PackedGemmASize<T>(out_channels, k);
}

template <class T>
void PackConvWeight(int64_t group, int64_t out_channels, int64_t k, const T* w, T* packed) {
  for (int64_t g = 0; g < group; ++g)
    PackGemmA(false, out_channels, k, w + g * out_channels * k, k,
              packed + g * PackedGemmASize<T>(out_channels, k));
}

#define TK_CONV(T)                                                                            \
  template void ConvForward<T>(const ConvShape&, const T*, const T*, const T*, const T*, T*); \
  template void ConvInputGradient<T>(const ConvShape&, const T*, const T*, const T*, T*);     \
  template void ConvWeightGradient<T>(const ConvShape&, const T*, const T*, T*);              \
  template int64_t PackedConvWeightSize<T>(int64_t, int64_t, int64_t);                        \
  template void PackConvWeight<T>(int64_t, int64_t, int64_t, const T*, T*);
TK_CONV(float)
TK_CONV(double)
#undef TK_CONV

}  // namespace toolkit
