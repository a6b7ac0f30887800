// Micro-kernels and packing for products of 8-bit integers with sums of 32 bits.
//
// A's elements are signed and B's unsigned; an operand of the other kind is moved by 128 (its bits
// flipped by 0x80), and its zero point with it. K is taken in groups of `group` steps: a lane of 32
// bits of B holds the group's elements of one column.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

constexpr int kMaxInt8Rows = 14;
constexpr int kMaxInt8Columns = 32;

// c[i * ldc + j] = sum over groups g and steps s of A[i, g, s] B[g, s, j] for one tile of up to mr
// rows and exactly nr columns; sums wrap around. A: a packed panel. B's lanes of group g: nr lanes
// from byte offsets[g] of `b`.
using Int8Ukernel = void (*)(int64_t groups, const void* a, const uint8_t* b,
                             const int64_t* offsets, int32_t* c, int64_t ldc);

// A run of a tile's columns, and where they go in a row of the output.
struct TileRun {
  int at;            // From here in the tile's row,
  int64_t count;     // this many go
  int64_t position;  // here.
};

// What becomes of a tile of sums x: v = x[i, j] - a_zero[i] columns[j] - b_zero[j] rest[i] +
// bias[i] modulo 2^32, and for 8-bit outputs saturate(round(multiplier[i, j] v) + zero), as if in
// float64. Arrays of columns hold nr elements.
struct TileFinish {
  const int32_t* bias = nullptr;     // By row; these are null where they are zeros.
  const int32_t* columns = nullptr;  // By column.
  const int32_t* a_zero = nullptr;   // By row; read where there are columns.
  const int32_t* b_zero = nullptr;   // By column.
  const int32_t* rest = nullptr;     // By row; read where there is b_zero.
  const float* multiplier = nullptr;
  int row_step = 0, column_step = 0;  // Of the multiplier: 0 or 1, 0 or 1.
  int32_t zero = 0;
};

// Rows are nr apart in the tile, `out_ld` in the output.
using FinishFn = void (*)(const TileFinish& f, int rows, const int32_t* tile, const TileRun* begin,
                          const TileRun* end, void* out, int64_t out_ld);

// One channel of a depthwise convolution: v[i] = sum over taps t of w[t] x[offsets[t] + i step].
struct Int8Taps {
  const int64_t* offsets;  // Of 4 * quads taps; weights beyond the last are 0.
  const int32_t* weights;  // Four signed bytes a number.
  int64_t quads;
  int step;                     // 1 or 2.
  int32_t bias;                 // Added to each sum.
  float multiplier, low, high;  // For 8-bit outputs, bounds less the zero point.
  int32_t zero;
};
constexpr int64_t kTapBlock = 64;
// n outputs, written by blocks of kTapBlock; as much may be read beyond the last of each tap.
using Int8TapsFn = void (*)(const Int8Taps& t, const uint8_t* x, int64_t n, void* out);

struct Int8Kernels {
  int mr, nr, group;
  int a_item;                             // Bytes of an element of a packed panel of A.
  Int8Ukernel ukernel[kMaxInt8Rows + 1];  // By rows.
  // out[(g * rows + i) * group + s] = x[i * ld + g * group + s] ^ flip, zeros beyond k; sums[i]: of
  // the row's signed elements.
  void (*pack_a)(int64_t rows, int64_t k, const uint8_t* x, int64_t ld, uint8_t flip, void* out,
                 int32_t* sums);
  // out[(g * width + j) * group + s] = x[(g * group + s) * ld + j] ^ flip for j < n; zeros for the
  // columns up to `width` and the steps beyond k.
  void (*pack_b)(int64_t k, int64_t n, int64_t width, const uint8_t* x, int64_t ld, uint8_t flip,
                 uint8_t* out);
  Int8TapsFn taps_to_int32, taps_to_int8, taps_to_uint8;
};

struct Int8Table {
  Int8Kernels plain;
  Int8Kernels vnni;  // Without kernels where the compiler or the instruction set has none.
  FinishFn to_int32, to_int8, to_uint8;
  // out[j] = x[j * stride], in lanes of 2 and of 4 bytes.
  void (*gather2)(int64_t n, const void* x, int64_t stride, void* out);
  void (*gather4)(int64_t n, const void* x, int64_t stride, void* out);
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(Int8Table, int8_table, Int8Functions)
