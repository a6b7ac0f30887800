// The machine's peaks, measured: what profiles compare with.
#pragma once

#include <cstdint>

namespace toolkit {

struct Peaks {
  double flops;  // float32 multiplications and additions a second, all threads.
  double bytes;  // Read from memory a second, all threads.
};

constexpr int64_t kBeyondCaches = int64_t{128} << 20;

// Takes about a fifth of a second. Of the present number of threads, each of which reads its own
// share of `working_set` bytes over and over: the less, the nearer the cache that it lies in.
Peaks MeasurePeaks(int64_t working_set = kBeyondCaches);

}  // namespace toolkit
