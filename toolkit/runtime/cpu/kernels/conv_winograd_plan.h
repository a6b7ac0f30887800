// How a Winograd convolution is laid out: what its ways of running share.
#pragma once

#include "core/gemm.h"
#include "kernels/conv_algorithms.h"
#include "kernels/conv_tiles.h"
#include "kernels/float_space.h"
#include "simd/gemm.h"
#include "simd/winograd.h"

namespace toolkit {

constexpr int64_t kWinogradSkew = 16;  // Keeps the points' streams out of one set of L1.
constexpr int64_t kPlanesAhead = 2;    // Planes between a prefetch and its use.

struct WinogradPlan {
  WinogradPlan(const ConvShape& shape, int m)
      : s(shape),
        f(WinogradSimd().of(m)),
        gemm(GemmSimd().f32),
        lanes(gemm.lanes),
        nr(gemm.nr),
        points((m + 2) * (m + 2)),
        panels(s.out_channels, gemm.mr) {
    const Window& w = s.window;
    in = {s.batch,
          CeilDiv(w.out[0], m),
          CeilDiv(w.out[1], m),
          m,
          m + 2,
          w.pad_begin[0],
          w.pad_begin[1],
          w.in[0],
          w.in[1],
          s.group * s.in_channels * s.in_count()};
    out = {s.batch, in.rows, in.columns, m,        m,
           0,       0,       w.out[0],   w.out[1], s.group * s.out_channels * s.out_count()};
  }

  const ConvShape& s;
  const WinogradTransforms& f;
  const GemmKernels<float>& gemm;
  int64_t lanes, nr, points;
  Panels panels;
  TileGrid in, out;
};

}  // namespace toolkit
