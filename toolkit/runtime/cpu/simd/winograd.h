// Tile transforms of Winograd's convolution F(m x m, 3 x 3) (Lavin and Gray, 2016), n = m + 2:
//   y = A^T [(G w G^T) * (B^T x B)] A, a product for each of the n x n points, summed over
//   channels.
// F(4x4) interpolates at 0, +-3/4, +-3/2 and infinity: three times more exact than 0, +-1, +-2.
// A vector holds the same element of `lanes` tiles of one channel; weights: of `lanes` channels.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

struct WinogradTransforms {
  int m;
  // Lane l reads the tile at x + offsets[l], rows `pitch` apart; RoundUp(n, 4) columns are read.
  // out[p * step] = (B^T x B) at point p, a whole vector.
  void (*input)(const float* x, const int32_t* offsets, int64_t pitch, float* out, int64_t step);
  // Writes the m x m tile A^T in A of lane l to y + offsets[l].
  void (*output)(const float* in, int64_t step, const int32_t* offsets, int64_t pitch, float* y);
  // out[p * step] = (A dy A^T), of m x m tiles; 4 columns are read.
  void (*gradient)(const float* dy, const int32_t* offsets, int64_t pitch, float* out,
                   int64_t step);
  // w[(k * 9 + tap) * lanes + l]. out[p * step + k * ld + l] = (G w G^T), also with the taps in
  // reverse order (`flip`).
  void (*weights)(int64_t k, int64_t ld, bool flip, const float* w, float* out, int64_t step);
  // out[tap * lanes + l] = (G^T u G) of u[p * step + l].
  void (*weight_gradient)(const float* u, int64_t step, float* out);
};

struct WinogradTable {
  int lanes;
  WinogradTransforms f2, f4, f6;  // f6 has no gradients.

  const WinogradTransforms& of(int m) const { return m == 2 ? f2 : m == 4 ? f4 : f6; }
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(WinogradTable, winograd_table, WinogradSimd)
