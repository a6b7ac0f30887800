// Moving data between strided layouts: what shape and indexing kernels are made of.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/kernel.h"

namespace toolkit {

// The elements of a 0-d or 1-d int32 or int64 tensor (shapes, axes, pads); `what` is for messages.
std::vector<int64_t> ReadInts(const Tensor& t, const char* what);
// The one element of an int32 or int64 tensor.
int64_t ReadInt(const Tensor& t, const char* what);
// Normalised axes; fails on one given twice.
std::vector<int> NormalizeAxes(const std::vector<int64_t>& axes, int rank);

// A copy between two strided layouts: element (i0, i1, ...) moves from src + sum(i * src stride) to
// dst + sum(i * dst stride). Source strides may be 0 or negative; no two elements share a place
// in dst.
class StridedCopy {
 public:
  explicit StridedCopy(DType dtype) : item_(static_cast<int64_t>(ItemSize(dtype))) {}

  // Dimensions from outermost to innermost as they lie in dst; strides in elements.
  void Add(int64_t dim, int64_t dst_stride, int64_t src_stride);
  // The result does not depend on the number of threads.
  void Run(ThreadPool& pool, void* dst, const void* src);

 private:
  static constexpr int kMaxDims = 2 * kMaxRank;
  void Simplify();
  bool RunTransposed(ThreadPool& pool, char* dst, const char* src);
  void RunRows(ThreadPool& pool, char* dst, const char* src);
  void RunUnits(ThreadPool& pool, char* dst, const char* src);
  struct Walker;

  int64_t item_;  // Bytes moved as one; Simplify widens it to whole contiguous runs.
  int rank_ = 0;
  int64_t dims_[kMaxDims], dst_[kMaxDims], src_[kMaxDims];  // Strides in bytes.
};

constexpr int64_t kCopyGrain = 32768;  // Bytes worth a task of their own.

// Fills y with `rows` rows of `run` bytes; row r comes from `source(r)`, a byte pointer.
template <class Source>
void CopyRows(ThreadPool& pool, void* y, int64_t rows, int64_t run, Source&& source) {
  if (rows == 0 || run == 0) return;
  char* dst = static_cast<char*>(y);
  const int64_t grain = run < kCopyGrain ? (kCopyGrain + run - 1) / run * run : kCopyGrain;
  pool.ParallelFor(rows * run, grain, [&](int64_t begin, int64_t end) {
    int64_t row = begin / run, offset = begin % run;
    while (begin < end) {
      const int64_t n = std::min(run - offset, end - begin);
      const char* src = source(row) + offset;
      switch (n) {  // The usual element sizes, without a call.
        case 4:
          std::memcpy(dst + begin, src, 4);
          break;
        case 8:
          std::memcpy(dst + begin, src, 8);
          break;
        default:
          std::memcpy(dst + begin, src, static_cast<size_t>(n));
      }
      begin += n;
      offset = 0;
      ++row;
    }
  });
}

// Sets every element of `y` to the element at `value`.
void FillWith(ThreadPool& pool, const Tensor& y, const void* value);
void FillZero(ThreadPool& pool, const Tensor& y);

}  // namespace toolkit
