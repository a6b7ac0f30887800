// Depthwise convolution with channels last: a vector holds channels of one position, so that no
// lane is empty in a narrow image and a border is a shorter loop.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// One row of y under a square kernel. `channels`: a multiple of the lanes, also what lies between
// two positions.
struct ChannelsRow {
  const float* const* x;  // The row of x under each row of taps; null where that is padding.
  int64_t in_columns, columns, channels;
  int64_t stride, pad;  // Columns of padding on the left.
  const float* w;       // (kernel, kernel, channels)
  const float* bias;
  float low, high;  // Bounds of y; NaN stays.
};

using ChannelsFn = void (*)(const ChannelsRow& row, float* y);

struct ChannelsTable {
  int lanes;
  ChannelsFn fn[2][2];  // [(kernel - 3) / 2][stride - 1].
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(ChannelsTable, channels_table, ChannelsSimd)
