#include "kernels/conv_depthwise.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/plane_bands.h"
#include "simd/depthwise.h"

namespace toolkit {
namespace {

// A square kernel over planes, band by band.
class DepthwisePlan {
 public:
  DepthwisePlan(const ConvShape& s, int64_t parts)
      : s_(s), planes_(s.window, DepthwiseSimd().lanes, 0.0f, parts), columns_(s.window.out[1]) {
    const Window& w = s.window;
    kernel_ = DepthwiseSimd().fn[w.kernel[0] / 2 - 1][w.stride[0] - 1][w.stride[1] - 1];
    for (int64_t i = 0; i < planes_.most_rows(); ++i)
      stores_.push_back({i * planes_.columns(), i * columns_, columns_});
  }

  static bool Applies(const Window& w) {
    return IsSquareWindow(w) && (w.kernel[0] == 3 || w.kernel[0] == 5 || w.kernel[0] == 7);
  }

  // A part of planes [begin, end) of y.
  void Run(int64_t part, int64_t begin, int64_t end, const float* x, const float* w,
           const ConvEpilogue<float>& e, float* y) const {
    std::vector<float> padded = planes_.Scratch();
    std::vector<float> sums(planes_.widened() ? planes_.most_rows() * planes_.columns() : 0);
    // Bounds are for what comes after a residual.
    const float low = e.residual ? -kInfinity : e.low, high = e.residual ? kInfinity : e.high;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i % (s_.group * s_.out_channels);
      const float* plane = x + i / s_.out_channels * s_.in_count();
      const DepthwiseFilter filter = {w + o * s_.taps(), e.bias ? e.bias[o] : 0.0f, low, high};
      const bool next = i + 1 < end && s_.out_channels == 1;
      for (const Band& band : planes_.bands(part)) {
        const int64_t rows = band.end - band.begin;
        const int64_t at = i * s_.out_count() + band.begin * columns_;
        const PlaneRowsIn from = planes_.Load(band, plane, next ? s_.in_count() : 0, padded.data());
        kernel_(from, filter, rows, planes_.columns(), planes_.widened() ? sums.data() : y + at);
        if (planes_.widened())
          StoreChannel(stores_.data(), rows, sums.data(), Unbiased(e), 0, at, y);
        else
          Finish(e, at, rows * columns_, y);
      }
    }
  }

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  static ConvEpilogue<float> Unbiased(ConvEpilogue<float> e) {
    e.bias = nullptr;
    return e;
  }

  // What the kernel has not done.
  static void Finish(const ConvEpilogue<float>& e, int64_t at, int64_t n, float* y) {
    if (e.residual) return FinishRange(e, at, at + n, y);
    if (e.activation) e.activation(y + at, y + at, n, e.params);
  }

  const ConvShape& s_;
  PlaneBands planes_;
  int64_t columns_;
  DepthwiseFn kernel_;
  std::vector<RowCopy> stores_;
};

}  // namespace

// Planes run in parallel.
template <class T>
void DepthwiseForward(const ConvShape& s, const T* x, const T* w, const ConvEpilogue<T>& e, T* y) {
  const int64_t out_count = s.out_count(), in_count = s.in_count(), taps = s.taps();
  const int64_t channels = s.group * s.out_channels, columns = s.window.out[s.window.rank - 1];
  constexpr int64_t kPace = 4;  // A multiply-add takes as long as several of a product.
  const bool small = s.batch * channels * out_count * taps * kPace <= kParallelWork;
  const int64_t grain =
      small ? s.batch * channels : 1 + 16384 / std::max<int64_t>(1, out_count * taps);
  ThreadPool& pool = ThreadPool::Global();
  if constexpr (sizeof(T) == sizeof(float)) {
    if (DepthwisePlan::Applies(s.window)) {
      const int64_t parts = small ? 1 : PlaneBands::Parts(s.window, s.batch, pool.num_threads());
      const DepthwisePlan plan(s, parts);
      return ForEachPart(parts, s.batch * channels, grain,
                         [&](int64_t part, int64_t begin, int64_t end) {
                           plan.Run(part, begin, end, x, w, e, y);
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
