#include "kernels/conv_depthwise.h"

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_tiles.h"
#include "kernels/plane.h"
#include "simd/depthwise.h"

namespace toolkit {
namespace {

// Rows [begin, end) of y, and how the rows of x that they see are copied into scratch.
struct Band {
  int64_t begin, end;
  std::vector<RowCopy> loads;
  int64_t above, rows;  // Rows of padding before what is copied; all rows in scratch.
};

// A square kernel over planes: band by band, whose padded input stays in L1.
class DepthwisePlan {
 public:
  explicit DepthwisePlan(const ConvShape& s)
      : s_(s), padding_(s.window), w_(padding_.window()), simd_(DepthwiseSimd()) {
    const int64_t size = w_.kernel[0];
    kernel_ = size / 2 - 1;
    columns_ = w_.out[1];
    if (columns_ < simd_.lanes)
      for (columns_ = 4; columns_ < w_.out[1];) columns_ *= 2;
    widened_ = columns_ != w_.out[1];
    copies_ = padding_.needed() || widened_;
    MakeBands(copies_ ? std::max<int64_t>(1, (kBandBytes / 4 / w_.in[1] - size) / w_.stride[0] + 1)
                      : w_.out[0]);
    for (int64_t i = 0; i < bands_.front().end; ++i)
      stores_.push_back({i * columns_, i * w_.out[1], w_.out[1]});
  }

  static bool Applies(const Window& w) {
    if (w.rank != 2 || w.kernel[0] != w.kernel[1] || w.stride[0] != w.stride[1]) return false;
    return (w.kernel[0] == 3 || w.kernel[0] == 5 || w.kernel[0] == 7) && w.stride[0] <= 2 &&
           w.dilation[0] == 1 && w.dilation[1] == 1;
  }

  // Planes [begin, end) of y.
  void Run(int64_t begin, int64_t end, const float* x, const float* w, const ConvEpilogue<float>& e,
           float* y) const {
    const int64_t pitch = w_.in[1], slack = 2 * simd_.lanes + w_.kernel[1];
    std::vector<float> padded(copies_ ? most_rows_ * pitch + slack : 0);
    std::vector<float> sums(widened_ ? bands_.front().end * columns_ : 0);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i % (s_.group * s_.out_channels);
      const float* plane = x + i / s_.out_channels * s_.in_count();
      const float bias = e.bias ? e.bias[o] : 0.0f;
      const float* taps = w + o * s_.taps();
      const bool next = i + 1 < end && s_.out_channels == 1;
      for (const Band& band : bands_) {
        const int64_t rows = band.end - band.begin;
        const int64_t at = i * s_.out_count() + band.begin * w_.out[1];
        if (copies_) Load(band, plane, next ? s_.in_count() : 0, padded.data());
        simd_.fn[kernel_][w_.stride[0] - 1](copies_ ? padded.data() : plane, pitch, taps, bias,
                                            rows, columns_, widened_ ? sums.data() : y + at);
        if (widened_)
          StoreChannel(stores_.data(), rows, sums.data(), Unbiased(e), 0, at, y);
        else
          FinishRange(e, at, at + rows * w_.out[1], y);
      }
    }
  }

 private:
  static constexpr int64_t kBandBytes = 24 * 1024;

  static ConvEpilogue<float> Unbiased(ConvEpilogue<float> e) {
    e.bias = nullptr;
    return e;
  }

  void MakeBands(int64_t height) {
    const Window& from = s_.window;
    const int64_t pitch = w_.in[1], stride = w_.stride[0];
    const int64_t n = std::min(from.in[1], pitch - from.pad_begin[1]);
    for (int64_t begin = 0; begin < w_.out[0]; begin += height) {
      Band band = {begin, std::min(begin + height, w_.out[0]), {}, 0, 0};
      band.rows = (band.end - begin - 1) * stride + w_.kernel[0];
      const int64_t top = begin * stride - from.pad_begin[0];
      band.above = std::clamp<int64_t>(-top, 0, band.rows);
      for (int64_t r = band.above; r < band.rows && top + r < from.in[0] && n > 0; ++r)
        band.loads.push_back({(top + r) * from.in[1], r * pitch + from.pad_begin[1], n});
      most_rows_ = std::max(most_rows_, band.rows);
      bands_.push_back(std::move(band));
    }
  }

  // Columns of padding are zero from the beginning; rows of padding differ from band to band.
  void Load(const Band& band, const float* plane, int64_t ahead, float* padded) const {
    const int64_t pitch = w_.in[1], below = band.above + static_cast<int64_t>(band.loads.size());
    if (bands_.size() > 1) {
      std::fill(padded, padded + band.above * pitch, 0.0f);
      std::fill(padded + below * pitch, padded + band.rows * pitch, 0.0f);
    }
    ConvSimd().load(band.loads.data(), static_cast<int64_t>(band.loads.size()), 1, plane, ahead,
                    padded);
  }

  const ConvShape& s_;
  Padding padding_;
  Window w_;  // Without padding.
  const DepthwiseTable& simd_;
  int64_t kernel_;
  int64_t columns_;  // Computed: whole vectors where y has fewer.
  bool widened_, copies_;
  int64_t most_rows_ = 0;
  std::vector<Band> bands_;
  std::vector<RowCopy> stores_;
};

}  // namespace

// Planes run in parallel.
template <class T>
void DepthwiseForward(const ConvShape& s, const T* x, const T* w, const ConvEpilogue<T>& e, T* y) {
  const int64_t out_count = s.out_count(), in_count = s.in_count(), taps = s.taps();
  const int64_t channels = s.group * s.out_channels, columns = s.window.out[s.window.rank - 1];
  const int64_t grain = 1 + 16384 / std::max<int64_t>(1, out_count * taps);
  ThreadPool& pool = ThreadPool::Global();
  if constexpr (sizeof(T) == sizeof(float)) {
    if (DepthwisePlan::Applies(s.window)) {
      const DepthwisePlan plan(s);
      return pool.ParallelFor(s.batch * channels, grain, [&](int64_t begin, int64_t end) {
        plan.Run(begin, end, x, w, e, y);
      });
    }
  }
  pool.ParallelFor(s.batch * channels, grain, [&](int64_t begin, int64_t end) {
    PlaneRows<T> rows(s.window, T(0));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i % channels;
      rows.Load(x + i / s.out_channels * in_count, w + o * taps);
      T* out = y + i * out_count;
      for (int64_t row = 0; row < out_count / columns; ++row, out += columns)
        RowsOf(T()).taps(rows.Row(row), e.bias ? e.bias[o] : T(0), out);
      FinishRange(e, i * out_count, (i + 1) * out_count, y);
    }
  });
}

// A filter at a time: images and rows in order, each tap in `lanes` partial sums.
template <class T>
void DepthwiseWeightGradient(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const int64_t out_count = s.out_count(), in_count = s.in_count(), taps = s.taps();
  const int64_t filters = s.group * s.out_channels, columns = s.window.out[s.window.rank - 1];
  const int lanes = RowsOf(T()).lanes;
  ThreadPool::Global().ParallelFor(filters, 1, [&](int64_t begin, int64_t end) {
    PlaneRows<T> rows(s.window, T(0));
    std::vector<T> acc(taps * lanes);
    for (int64_t o = begin; o < end; ++o) {
      std::fill(acc.begin(), acc.end(), T(0));
      for (int64_t n = 0; n < s.batch; ++n) {
        rows.Load(x + (n * s.group + o / s.out_channels) * in_count);
        const T* d = dy + (n * filters + o) * out_count;
        for (int64_t row = 0; row < out_count / columns; ++row, d += columns)
          RowsOf(T()).dot_taps(rows.Row(row), d, acc.data());
      }
      for (int64_t t = 0; t < taps; ++t) {
        T sum = T(0);
        for (int i = 0; i < lanes; ++i) sum += acc[t * lanes + i];
        dw[o * taps + t] = sum;
      }
    }
  });
}

#define TK_DEPTHWISE(T)                                                                           \
  template void DepthwiseForward<T>(const ConvShape&, const T*, const T*, const ConvEpilogue<T>&, \
                                    T*);                                                          \
  template void DepthwiseWeightGradient<T>(const ConvShape&, const T*, const T*, T*);
TK_DEPTHWISE(float)
TK_DEPTHWISE(double)
#undef TK_DEPTHWISE

}  // namespace toolkit
