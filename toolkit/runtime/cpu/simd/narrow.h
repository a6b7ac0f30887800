// Floats of 8, 6 and 4 bits, and integers of 4 and 2 bits: one byte an element, the bits of
// narrower ones at its low end (OCP 8-bit floating point, 2023; OCP microscaling formats, 2023).
#pragma once

#include "simd/elementwise.h"

namespace toolkit {

// float8_e8m0 is apart: powers of two, without sign.
enum class NarrowFloat { kE4M3FN, kE4M3FNUZ, kE5M2, kE5M2FNUZ, kE2M1, kE2M3, kE3M2, kCount };
enum class NarrowInt { kU4, kI4, kU2, kI2, kCount };
enum class PowerRounding { kUp, kDown, kNearest };

struct NarrowTable {
  // Codes to float32, and float32 to codes, to nearest even. params[0]: whether what is out of
  // range becomes the largest value; else infinity, or NaN where there is none (types of fewer than
  // 8 bits have neither and always saturate; their NaN becomes a zero).
  UnaryFn decode[static_cast<int>(NarrowFloat::kCount)];
  UnaryFn encode[static_cast<int>(NarrowFloat::kCount)];
  // e8m0. params: saturate, PowerRounding. The sign is ignored. 2^-127 is no normal float32, hence
  // the way to float64.
  UnaryFn decode_power, decode_power_to_double, encode_power;
  // Codes to int8, and the low bits of int8.
  UnaryFn extend[static_cast<int>(NarrowInt::kCount)];
  UnaryFn truncate[static_cast<int>(NarrowInt::kCount)];
  // To float32, rounded to odd where inexact, so that a second rounding to 11 bits or fewer gives
  // what one rounding would (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums:
  // proved algorithms using rounding to odd", 2008). Null where float32 holds every value.
  UnaryFn to_float_odd[kElements];
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(NarrowTable, narrow_table, NarrowFunctions)
