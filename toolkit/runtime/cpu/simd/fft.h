// The loops of the fast Fourier transform, over split complex values (re and im apart) of several
// lines at once: element k of line l lies at [k * lines + l].
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

constexpr int kFftLines = 8;  // Lines of a tile.
constexpr int kFftLargestRadix = 13;

template <class T>
struct FftFunctions {
  // One pass of Stockham's transform (decimation in frequency), for p < m, q < s, k < radix:
  //   y[(radix p + k) s + q] = w[k, p] sum_j x[(p + m j) s + q] e^(-2 pi i j k / radix)
  // w has radix - 1 rows of m (k = 0 is 1); `roots` holds radix cosines, then radix sines, of
  // -2 pi j / radix. s is a multiple of kFftLines.
  void (*pass)(int radix, int64_t m, int64_t s, const T* wr, const T* wi, const T* roots,
               const T* xr, const T* xi, T* yr, T* yi);
  // x[k * lines + l] *= w[k * row + l * step], k < n; step is 0 or 1.
  void (*multiply)(T* xr, T* xi, int64_t n, int64_t lines, const T* wr, const T* wi, int64_t row,
                   int64_t step);
  // From the transform z of x[2k] + i x[2k + 1], k < h, to that of x: bins 0 to h. w[k] is
  // e^(-2 pi i k / 2h), k <= h / 2.
  void (*untangle)(T* xr, T* xi, int64_t h, int64_t lines, const T* wr, const T* wi);
  // The inverse: bins 0 to h, of which 0 and h count as real, to z.
  void (*tangle)(T* xr, T* xi, int64_t h, int64_t lines, const T* wr, const T* wi);

  // Between kFftLines lines of pairs (even, odd) and a tile: even[k * kFftLines + l] is x[l][2k].
  // `window`, or null, multiplies the elements of a line.
  void (*gather)(T* even, T* odd, const T* const* x, int64_t pairs, const T* window);
  void (*scatter)(T* const* y, const T* even, const T* odd, int64_t pairs, T scale);
  // The same where lines lie side by side: even[k * kFftLines + l] is x[k * stride + 2l].
  void (*gather_columns)(T* even, T* odd, const T* x, int64_t stride, int64_t n);
  void (*scatter_columns)(T* y, int64_t stride, const T* even, const T* odd, int64_t n, T scale);
};

struct FftTable {
  FftFunctions<float> f32;
  FftFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(FftTable, fft_table, FftLoops)
