// Convolution of 8-bit integers less their zero points, with sums of 32 bits.
//
// Images are padded with X's zero point and their channels interleaved by groups of K, so that the
// elements under one tap are lanes that micro-kernels read where they lie (stride 1) or that a
// panel gathers. M = output channels, N = positions, K = (block of channels, tap, channel).
#pragma once

#include <functional>
#include <vector>

#include "kernels/conv_algorithms.h"
#include "kernels/gemm_int8.h"

namespace toolkit {

// Weights (group x out_channels, in_channels, taps...), packed for each group.
class PackedConvInt8 {
 public:
  PackedConvInt8() = default;
  PackedConvInt8(const Tensor& w, int64_t group);
  bool defined() const { return !rows_.empty(); }
  const PackedRows& rows(int64_t group) const { return rows_[static_cast<size_t>(group)]; }
  size_t bytes() const {
    size_t bytes = ones_.bytes();
    for (const PackedRows& rows : rows_) bytes += rows.bytes();
    return bytes;
  }
  const PackedRows& ones() const { return ones_; }  // One row that sums the columns.

 private:
  std::vector<PackedRows> rows_;
  PackedRows ones_;
};

// Takes the sums of output channels [channel, channel + rows): `f` has what is to be taken from
// them and added, the runs are where positions of the tile go in a channel's plane.
using PlaneSink = std::function<void(int64_t image, int64_t channel, int rows, const int32_t* tile,
                                     TileFinish& f, const TileRun* begin, const TileRun* end)>;

// `x_zero`, `w_zeros` (of each output channel, or one) as the packed operands hold them. `bias`: of
// each output channel; null: none.
void ConvInt8(KernelContext& c, const ConvShape& s, const Tensor& x, const PackedConvInt8& w,
              int32_t x_zero, const std::vector<int32_t>& w_zeros, const int32_t* bias,
              const PlaneSink& sink);

}  // namespace toolkit
