// Operands of the matrix products that convolutions become, made panel by panel.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/gemm.h"
#include "core/thread_pool.h"
#include "kernels/plane.h"

namespace toolkit {

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

// Images with their padding written out, so that no tap needs a check. Without padding: x itself.
template <class T>
class PaddedImages {
 public:
  // `channels` of each of `images`, which lie `image_stride` apart.
  PaddedImages(const Window& window, const T* x, int64_t images, int64_t channels,
               int64_t image_stride)
      : padding_(window), data_(x), image_stride_(image_stride) {
    if (!padding_.needed()) return;
    buffer_ = padding_.template Allocate<T>(images * channels);
    T* out = reinterpret_cast<T*>(buffer_->data());
    const int64_t plane = InCount(padding_.window()), from_plane = InCount(window);
    const int64_t grain = 1 + 16384 / plane;
    ThreadPool::Global().ParallelFor(images * channels, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        padding_.Copy(x + i / channels * image_stride + i % channels * from_plane, T(0),
                      out + i * plane);
    });
    data_ = out;
    image_stride_ = channels * plane;
  }

  const Window& window() const { return padding_.window(); }
  const T* image(int64_t i) const { return data_ + i * image_stride_; }

 private:
  Padding padding_;
  const T* data_;
  int64_t image_stride_;
  std::shared_ptr<Buffer> buffer_;
};

// Calls fn(image, position, count, at) for the runs of [begin, begin + n) that lie in one image.
template <class Fn>
void ForEachRun(int64_t begin, int64_t n, int64_t positions, Fn&& fn) {
  for (int64_t at = 0; at < n;) {
    const int64_t image = (begin + at) / positions, p = (begin + at) % positions;
    const int64_t count = std::min(n - at, positions - p);
    fn(image, p, count, at);
    at += count;
  }
}

// Columns [begin, end) of a panel of width `end` become zero.
template <class T>
void ZeroColumns(int64_t rows, int64_t begin, int64_t end, T* out) {
  if (begin == end) return;
  for (int64_t k = 0; k < rows; ++k) std::fill(out + k * end + begin, out + (k + 1) * end, T(0));
}

// Im2col over a batch, as panels of B: (K = channels x taps, N = images x positions); and as rows
// of A: (M = channels x taps, K = images x positions).
template <class T>
class Im2Col : public PanelSource<T>, public RowSource<T> {
 public:
  explicit Im2Col(const PaddedImages<T>& images)
      : images_(images), positions_(OutCount(images.window())) {}

  void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width, T* out) const override {
    Fill(k0, kc, n0, n, width, out);
    ZeroColumns(kc, n, width, out);
  }

  void Rows(int64_t m0, int64_t rows, int64_t k0, int64_t kc, T* out) const override {
    Fill(m0, rows, k0, kc, kc, out);
  }

 private:
  void Fill(int64_t tap, int64_t taps, int64_t begin, int64_t n, int64_t width, T* out) const {
    ForEachRun(begin, n, positions_, [&](int64_t image, int64_t p, int64_t count, int64_t at) {
      RowsOf(T()).im2col(images_.window(), images_.image(image), tap, taps, p, count, width,
                         out + at);
    });
  }

  const PaddedImages<T>& images_;
  int64_t positions_;
};

// The channels of several images of a pointwise convolution: the same without taps.
template <class T>
class ChannelSource : public PanelSource<T> {
 public:
  ChannelSource(const T* x, int64_t positions, int64_t image_stride)
      : x_(x), positions_(positions), image_stride_(image_stride) {}

  void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width, T* out) const override {
    ForEachRun(n0, n, positions_, [&](int64_t image, int64_t p, int64_t count, int64_t at) {
      const T* from = x_ + image * image_stride_ + k0 * positions_ + p;
      for (int64_t k = 0; k < kc; ++k)
        std::memcpy(out + k * width + at, from + k * positions_, count * sizeof(T));
    });
    ZeroColumns(kc, n, width, out);
  }

 private:
  const T* x_;
  int64_t positions_, image_stride_;
};

// dy^T over a batch: (K = images x positions, N = output channels).
template <class T>
class GradientColumns : public PanelSource<T> {
 public:
  GradientColumns(const T* dy, int64_t positions, int64_t image_stride)
      : dy_(dy), positions_(positions), image_stride_(image_stride) {}

  void Pack(int64_t k0, int64_t kc, int64_t n0, int64_t n, int64_t width, T* out) const override {
    ForEachRun(k0, kc, positions_, [&](int64_t image, int64_t p, int64_t count, int64_t at) {
      GemmTranspose<T>(n, count, dy_ + image * image_stride_ + n0 * positions_ + p, positions_,
                       width, out + at * width);
    });
  }

 private:
  const T* dy_;
  int64_t positions_, image_stride_;
};

// The weights of the adjoint at stride 1: channels exchanged, taps reversed. A's rows are the
// input channels of one group, k = (output channel, tap).
template <class T>
class FlippedWeights : public PanelSource<T> {
 public:
  FlippedWeights(const T* w, int64_t in_channels, int64_t taps)
      : w_(w), in_channels_(in_channels), taps_(taps) {}

  void Pack(int64_t k0, int64_t kc, int64_t m0, int64_t rows, int64_t width,
            T* out) const override {
    for (int64_t k = k0; k < k0 + kc; ++k, out += width) {
      const int64_t o = k / taps_, tap = taps_ - 1 - k % taps_;
      const T* from = w_ + (o * in_channels_ + m0) * taps_ + tap;
      for (int64_t i = 0; i < rows; ++i) out[i] = from[i * taps_];
    }
  }

 private:
  const T* w_;
  int64_t in_channels_, taps_;
};

}  // namespace toolkit
