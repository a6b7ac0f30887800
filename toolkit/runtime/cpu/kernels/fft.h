// The discrete Fourier transform of any length in O(n log n): mixed radices 4, 2, 3, 5, 7, 11, 13,
// and Bluestein's algorithm for lengths with a larger prime factor.
#pragma once

#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "simd/fft.h"

namespace toolkit {

// What does not depend on the data; immutable, shared by all threads. The transform is the forward
// one, not scaled; with `re` and `im` exchanged it is the inverse.
template <class T>
class FftPlan {
 public:
  // From a cache of the latest lengths.
  static std::shared_ptr<const FftPlan> Of(int64_t n);

  explicit FftPlan(int64_t n);
  int64_t length() const { return n_; }

  // Elements of a line in a buffer: what Bluestein's algorithm pads to.
  int64_t padded() const { return convolution_ ? convolution_->n_ : n_; }

  // Transforms kFftLines lines in place, in one thread: element k of line l is at
  // [k * kFftLines + l]. re and im hold kFftLines * padded() elements, work twice as many.
  void Tile(T* re, T* im, T* work) const;
  // Transforms one line in place, by all threads. re and im hold padded() elements.
  void Line(ThreadPool& pool, T* re, T* im, T* work) const;
  // Whether `lines` lines are better, or can only be, transformed one by one.
  bool ByLine(int64_t lines) const {
    return padded() > kLargestTile || (lines < kFftLines / 2 && padded() >= kLongLine);
  }

  // Of an even length 2h seen as h complex values: e^(-2 pi i k / 2h), k <= h / 2.
  struct Roots {
    std::vector<T> re, im;
  };
  static Roots HalfRoots(int64_t n);

 private:
  struct Pass {
    int radix;
    int64_t m;
    Roots twiddles;
    std::vector<T> roots;
  };
  static constexpr int64_t kLongLine = 512;
  static constexpr int64_t kLargestTile = 4096;  // Beyond it a tile leaves the second-level cache.
  void PlanPasses(const std::vector<int>& radices);
  void PlanBluestein();
  void PlanLine(const std::vector<int>& radices);
  void SquareLine(ThreadPool& pool, T* re, T* im, T* work) const;
  // `transform(re, im)` is the transform of the padded length, in place.
  template <class Transform>
  void Bluestein(T* re, T* im, int64_t lines, Transform transform) const;

  int64_t n_;
  std::vector<Pass> passes_;
  // Bluestein: y = chirp * (chirp x convolved with conj(chirp)).
  std::shared_ptr<const FftPlan> convolution_;
  Roots chirp_, kernel_;
  // A long line as a matrix of rows_ x columns_ (Bailey 1990): transforms of columns, twiddles,
  // transforms of rows.
  std::shared_ptr<const FftPlan> rows_, columns_;
  Roots line_twiddles_;  // As the matrix lies, and kFftLines more.
};

}  // namespace toolkit
