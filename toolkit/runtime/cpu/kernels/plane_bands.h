// Planes in bands of rows whose padded input stays in L1: for kernels that slide over one plane.
// Threads share out large planes by rows, as what comes before and after does, and others whole.
#pragma once

#include <algorithm>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_tiles.h"
#include "kernels/plane.h"
#include "simd/plane_rows.h"

namespace toolkit {

// Rows [begin, end) of y, and the rows of x that they see: rows of padding, then `loads`, as copied
// into scratch.
struct Band {
  int64_t begin, end;
  int64_t above;
  std::vector<RowCopy> loads;
};

class PlaneBands {
 public:
  // A window of rank 2. Vectors of `lanes` columns: a narrower y is widened to whole vectors of 4,
  // 8 or more, in scratch. `fill`: what columns of padding hold. `parts` share out the rows.
  PlaneBands(const Window& window, int64_t lanes, float fill, int64_t parts = 1)
      : from_(window), padding_(window), w_(padding_.window()), lanes_(lanes), fill_(fill) {
    columns_ = w_.out[1];
    if (columns_ < lanes)
      for (columns_ = std::min<int64_t>(4, lanes); columns_ < w_.out[1];) columns_ *= 2;
    const int64_t fitting = (kBytes / 4 / w_.in[1] - w_.kernel[0]) / w_.stride[0] + 1;
    const int64_t most = copies() ? std::max<int64_t>(1, fitting) : w_.out[0];
    for (int64_t part = 0; part < parts; ++part) {
      MakeBands(w_.out[0] * part / parts, w_.out[0] * (part + 1) / parts, most);
      ends_.push_back(bands_.size());
    }
  }

  // Into how many parts the planes of `images` are cut.
  static int64_t Parts(const Window& window, int64_t images, int64_t threads) {
    constexpr int64_t kLarge = 2048;  // Positions for each thread.
    const bool large = window.out[0] * window.out[1] >= kLarge * threads;
    return images % threads != 0 && large ? threads : 1;
  }

  const Window& window() const { return w_; }  // Without padding.
  struct Range {
    const Band *first, *last;
    const Band* begin() const { return first; }
    const Band* end() const { return last; }
  };
  Range bands(int64_t part) const {
    const size_t before = part ? ends_[static_cast<size_t>(part) - 1] : 0;
    return {bands_.data() + before, bands_.data() + ends_[static_cast<size_t>(part)]};
  }
  int64_t columns() const { return columns_; }  // Computed.
  bool widened() const { return columns_ != w_.out[1]; }
  bool copies() const { return w_.in[1] != from_.in[1] || from_.pad_begin[1] != 0 || widened(); }
  int64_t most_rows() const { return most_rows_; }  // Of y, in a band.

  // Scratch for Load: whole vectors may be read beyond what is needed.
  std::vector<float> Scratch() const {
    const int64_t slack = 2 * lanes_ + w_.kernel[1];
    return std::vector<float>(copies() ? most_in_ * w_.in[1] + slack : 0, fill_);
  }

  // The band's rows of x, their columns padded: in `scratch`, or where they lie. Asks for the same
  // rows `ahead` elements further.
  PlaneRowsIn Load(const Band& band, const float* plane, int64_t ahead, float* scratch) const {
    const auto there = static_cast<int64_t>(band.loads.size());
    if (!copies()) return {there ? plane + band.loads[0].from : plane, w_.in[1], band.above, there};
    ConvSimd().load(band.loads.data(), there, 1, plane, ahead, scratch);
    return {scratch, w_.in[1], band.above, there};
  }

 private:
  static constexpr int64_t kBytes = 24 * 1024;

  void MakeBands(int64_t first, int64_t last, int64_t height) {
    const int64_t pitch = w_.in[1], stride = w_.stride[0];
    const int64_t n = std::min(from_.in[1], pitch - from_.pad_begin[1]);
    for (int64_t begin = first; begin < last; begin += height) {
      Band band = {begin, std::min(begin + height, last), 0, {}};
      const int64_t rows = (band.end - begin - 1) * stride + w_.kernel[0];
      const int64_t top = begin * stride - from_.pad_begin[0];
      band.above = std::clamp<int64_t>(-top, 0, rows);
      for (int64_t r = band.above; r < rows && top + r < from_.in[0] && n > 0; ++r)
        band.loads.push_back(
            {(top + r) * from_.in[1], (r - band.above) * pitch + from_.pad_begin[1], n});
      most_in_ = std::max(most_in_, static_cast<int64_t>(band.loads.size()));
      most_rows_ = std::max(most_rows_, band.end - band.begin);
      bands_.push_back(std::move(band));
    }
  }

  Window from_;
  Padding padding_;
  Window w_;
  int64_t lanes_;
  float fill_;
  int64_t columns_, most_in_ = 0, most_rows_ = 0;
  std::vector<Band> bands_;
  std::vector<size_t> ends_;  // Of the bands of each part.
};

// Calls fn(part, begin, end) for planes [begin, end) of each part, in parallel: parts in order.
template <class Fn>
void ForEachPart(int64_t parts, int64_t planes, int64_t grain, Fn fn) {
  ThreadPool::Global().ParallelFor(parts * planes, grain, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin / planes; part * planes < end; ++part)
      fn(part, std::max<int64_t>(begin - part * planes, 0), std::min(end - part * planes, planes));
  });
}

// A square window at most two steps apart, without dilation.
inline bool IsSquareWindow(const Window& w) {
  return w.rank == 2 && w.kernel[0] == w.kernel[1] && w.stride[0] <= 2 && w.stride[1] <= 2 &&
         w.dilation[0] == 1 && w.dilation[1] == 1;
}

}  // namespace toolkit
