// Functions over spans of elements: what a tile program calls, one tile at a time.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// y[i] = f(x[i]), i < n; y may be x. `params` are the operator's attributes.
using UnaryFn = void (*)(void* y, const void* x, int64_t n, const double* params);
// y[i] = f(a[i * a_step], b[i * b_step]) with steps of 0 or 1; y may be a or b.
using BinaryFn = void (*)(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step);
// y[i] = condition[i] ? a[i] : b[i].
using SelectFn = void (*)(void* y, const uint8_t* condition, const void* a, const void* b,
                          int64_t n);

// Types that arithmetic runs in. bool is kU8; float16 and bfloat16 are widened by a tile program.
enum class Element { kF32, kF64, kI8, kI16, kI32, kI64, kU8, kU16, kU32, kU64, kCount };
constexpr int kElements = static_cast<int>(Element::kCount);

enum class UnaryOp {
  // Floats.
  kExp,
  kLog,
  kSqrt,
  kReciprocal,
  kSigmoid,
  kTanh,
  kErf,
  kGelu,
  kGeluTanh,
  kSoftplus,
  kSoftsign,
  kMish,
  kSwish,
  kElu,
  kSelu,
  kCelu,
  kLeakyRelu,
  kThresholdedRelu,
  kHardSigmoid,
  kHardSwish,
  kShrink,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kCeil,
  kFloor,
  kRound,
  kIsNaN,
  kIsInf,
  // Numbers.
  kNeg,
  kAbs,
  kSign,
  kRelu,
  // Integers; kNot is for bool.
  kBitwiseNot,
  kNot,
  kCount
};
enum class BinaryOp {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,
  kMax,
  kPow,
  kMod,
  kFMod,
  kPRelu,
  // Results are bool.
  kEqual,
  kLess,
  kLessOrEqual,
  kBitwiseAnd,
  kBitwiseOr,
  kBitwiseXor,
  kShiftLeft,
  kShiftRight,
  kCount
};

// Null where an operator has no meaning for a type.
struct UnaryTable {
  UnaryFn fn[static_cast<int>(UnaryOp::kCount)][kElements];
};
struct BinaryTable {
  BinaryFn fn[static_cast<int>(BinaryOp::kCount)][kElements];
};
// Conversions. Floats truncate towards zero; NaN becomes 0. What does not fit saturates at 32 and
// 64 bits (unsigned: negative numbers wrap) and keeps its low bits below.
struct CastTable {
  UnaryFn fn[kElements][kElements];
  UnaryFn to_bool[kElements];
  UnaryFn half_to_float, float_to_half, bfloat_to_float, float_to_bfloat;
  SelectFn select[5];  // By log2 of the element's size.
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(UnaryTable, unary_table, UnaryFunctions)
TOOLKIT_DECLARE_TABLE(BinaryTable, binary_table, BinaryFunctions)
TOOLKIT_DECLARE_TABLE(CastTable, cast_table, CastFunctions)
