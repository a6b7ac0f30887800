// Products of unsigned bytes that lie channels last by signed ones, requantized in registers.
//
// Rows of x are read where they lie: a lane of 32 bits is four neighbouring channels of a position.
// Sums are of 32 bits and wrap around.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

constexpr int kNhwcColumns = 32;  // Output channels of a panel of weights.
constexpr int kNhwcBlock = 64;    // Channels of a depthwise block.
constexpr int kMaxNhwcRows = 14;

// v = sum + init[j]; y = saturate(round(multiplier[j] v) + zero), as if in float64.
struct NhwcFinish {
  const int32_t* init;
  const float* multiplier;
  int32_t zero;
  int columns;  // How many of a panel or block are written.
  uint8_t* out;
  int64_t out_ld;  // Between rows.
};

// Rows i: the sum over taps t, groups g and steps s < 4 of x[t * rows + i][4 g + s] w[t][g][j][s].
using NhwcTileFn = void (*)(const uint8_t* const* x, int64_t taps, int64_t groups, const int8_t* w,
                            const NhwcFinish& f);

// Positions i < n of a block of channels: the sum over taps t < 4 quads of x[i * 4 quads + t][at +
// channel] w[quad][lane][t % 4]. Lanes, of w, init and multiplier: see NhwcLane; those of a block
// of at most 32 channels are there twice, for two positions.
using NhwcDepthwiseFn = void (*)(const uint8_t* const* x, int64_t n, int64_t quads, int64_t at,
                                 const int8_t* w, const NhwcFinish& f);

// The channel of a lane: as bytes of four taps interleave.
constexpr int NhwcLane(int lane) { return lane % 16 / 4 * 16 + lane / 16 * 4 + lane % 4; }

struct NhwcKernels {
  int mr;
  NhwcTileFn tile[kMaxNhwcRows + 1];  // By rows.
  NhwcDepthwiseFn depthwise;
};

struct NhwcTable {
  NhwcKernels plain;
  NhwcKernels vnni;  // Without kernels where the compiler or the instruction set has none.
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(NhwcTable, nhwc_table, NhwcFunctions)
