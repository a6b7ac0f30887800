// The machine's peaks, measured: what profiles compare with.
#pragma once

namespace toolkit {

struct Peaks {
  double flops;  // float32 multiplications and additions a second, all threads.
  double bytes;  // Read from memory a second, all threads.
};

// Takes about a fifth of a second. Of the present number of threads.
Peaks MeasurePeaks();

}  // namespace toolkit
