// Linear maps along one axis, and a separable pair of them over the planes of an image.
#pragma once

#include <algorithm>
#include <vector>

#include "core/kernel.h"
#include "simd/image.h"

namespace toolkit {

inline const ImageRows<float>& ImageRowsOf(float) { return ImageSimd().f32; }
inline const ImageRows<double>& ImageRowsOf(double) { return ImageSimd().f64; }

// Element o of the output is the sum of weight[t] * x[index[t]] for t in [start[o], start[o + 1]).
struct AxisMap {
  int64_t in = 0;
  std::vector<int64_t> start = {0};
  std::vector<int32_t> index;
  std::vector<double> weight;

  int64_t out() const { return static_cast<int64_t>(start.size()) - 1; }
  void Add(int64_t at, double w) {
    index.push_back(static_cast<int32_t>(at));
    weight.push_back(w);
  }
  void EndRow() { start.push_back(static_cast<int64_t>(index.size())); }
  bool IsIdentity() const;
  AxisMap Transposed() const;
};

// A map made ready for T: where every output has as many taps, these lie tap by tap.
template <class T>
class AxisPass {
 public:
  explicit AxisPass(const AxisMap& map);
  static AxisPass Identity(int64_t n) { return AxisPass(n); }

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  bool identity() const { return identity_; }
  // Input rows between the first and the last that one output row takes from, at most.
  int64_t reach() const { return reach_; }
  int64_t max_taps() const { return max_taps_; }
  int64_t taps(int64_t o) const { return start_[o + 1] - start_[o]; }
  const int32_t* index(int64_t o) const { return index_.data() + start_[o]; }
  const T* weight(int64_t o) const { return weight_.data() + start_[o]; }

  // One row of in() elements to one of out().
  void Row(const T* x, T* y) const;

 private:
  explicit AxisPass(int64_t n) : in_(n), out_(n), identity_(true) {}
  int64_t in_, out_, reach_ = 1, max_taps_ = 1;
  bool identity_, uniform_ = true;
  std::vector<int64_t> start_;
  std::vector<int32_t> index_, uniform_index_;
  std::vector<T> weight_, uniform_weight_;
};

// Rows [begin, end) of one output plane: `rows` over its rows and `columns` along them. Input rows
// that several output rows take from are resampled once, in a ring of rows.
template <class T>
class PlanePass {
 public:
  PlanePass(const AxisPass<T>& rows, const AxisPass<T>& columns);
  void Run(const T* x, int64_t begin, int64_t end, T* y);

 private:
  const T* InputRow(const T* x, int64_t row);

  const AxisPass<T>&rows_, &columns_;
  std::vector<int64_t> held_;  // Which input row each place of the ring has.
  std::vector<T> ring_;
  std::vector<const T*> sources_;
};

// `planes` planes of rows.in() x columns.in() elements, in parallel.
template <class T>
void RunPlanes(ThreadPool& pool, int64_t planes, const AxisPass<T>& rows,
               const AxisPass<T>& columns, const T* x, T* y);

}  // namespace toolkit
