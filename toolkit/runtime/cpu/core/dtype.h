// Element types, numbered as in onnx.TensorProto.DataType.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/error.h"

namespace toolkit {

enum class DType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBFloat16 = 16,
  // Narrow types: one byte an element in memory, the bits of narrower ones at its low end.
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
  kFloat6E2M3 = 27,
  kFloat6E3M2 = 28,
  // Kinds of values that are no tensors; see Tensor::items.
  kSequence = 60,
  kMap = 61,
  kNone = 62,  // An optional without a value.
};
constexpr DType kLastElementType = DType::kFloat6E3M2;

// A set of element types: bit i stands for the type of number i.
using DTypeSet = uint64_t;
constexpr DTypeSet Bit(DType t) { return DTypeSet{1} << static_cast<int>(t); }

constexpr DTypeSet kFloats = Bit(DType::kFloat) | Bit(DType::kDouble);
constexpr DTypeSet kSignedInts =
    Bit(DType::kInt8) | Bit(DType::kInt16) | Bit(DType::kInt32) | Bit(DType::kInt64);
constexpr DTypeSet kUnsignedInts =
    Bit(DType::kUInt8) | Bit(DType::kUInt16) | Bit(DType::kUInt32) | Bit(DType::kUInt64);
constexpr DTypeSet kInts = kSignedInts | kUnsignedInts;
constexpr DTypeSet kNumbers = kFloats | kInts;
constexpr DTypeSet kBools = Bit(DType::kBool);
constexpr DTypeSet kHalves = Bit(DType::kFloat16) | Bit(DType::kBFloat16);
constexpr DTypeSet kComplexes = Bit(DType::kComplex64) | Bit(DType::kComplex128);
constexpr DTypeSet kStrings = Bit(DType::kString);
constexpr DTypeSet kFloat8s = Bit(DType::kFloat8E4M3FN) | Bit(DType::kFloat8E4M3FNUZ) |
                              Bit(DType::kFloat8E5M2) | Bit(DType::kFloat8E5M2FNUZ);
constexpr DTypeSet kNarrow = (Bit(kLastElementType) << 1) - Bit(DType::kFloat8E4M3FN);
// Elements whose bits are their value.
constexpr DTypeSet kFixedSize = kNumbers | kBools | kHalves | kComplexes | kNarrow;
// What data movement accepts: a string's element is a reference of 8 bytes (core/strings.h).
constexpr DTypeSet kMovable = kFixedSize | kStrings;
constexpr DTypeSet kSequences = Bit(DType::kSequence);
constexpr DTypeSet kMaps = Bit(DType::kMap);
constexpr DTypeSet kAnyValue = ~DTypeSet{0};

size_t ItemSize(DType t);   // Bytes of one element.
const char* Name(DType t);  // "float32", as numpy writes it.
// Any number may stand for `t`: files hold what they like.
inline bool Contains(DTypeSet set, DType t) {
  return static_cast<uint32_t>(t) < 64 && (set & Bit(t)) != 0;
}

template <class T>
struct DTypeOf;
#define TK_DTYPE_OF(type, value)                  \
  template <>                                     \
  struct DTypeOf<type> {                          \
    static constexpr DType kValue = DType::value; \
  };
TK_DTYPE_OF(float, kFloat)
TK_DTYPE_OF(double, kDouble)
TK_DTYPE_OF(int8_t, kInt8)
TK_DTYPE_OF(int16_t, kInt16)
TK_DTYPE_OF(int32_t, kInt32)
TK_DTYPE_OF(int64_t, kInt64)
TK_DTYPE_OF(uint8_t, kUInt8)
TK_DTYPE_OF(uint16_t, kUInt16)
TK_DTYPE_OF(uint32_t, kUInt32)
TK_DTYPE_OF(uint64_t, kUInt64)
TK_DTYPE_OF(bool, kBool)
#undef TK_DTYPE_OF

template <class T>
struct TypeTag {
  using type = T;
};

[[noreturn]] void FailDType(DType got);

// Calls fn(TypeTag<T>{}) with the C++ type of `t`; the macro-free switch that kernels share.
template <class Fn>
decltype(auto) DispatchFloats(DType t, Fn&& fn) {
  switch (t) {
    case DType::kFloat:
      return fn(TypeTag<float>{});
    case DType::kDouble:
      return fn(TypeTag<double>{});
    default:
      FailDType(t);
  }
}

template <class Fn>
decltype(auto) DispatchNumbers(DType t, Fn&& fn) {
  switch (t) {
    case DType::kFloat:
      return fn(TypeTag<float>{});
    case DType::kDouble:
      return fn(TypeTag<double>{});
    case DType::kInt8:
      return fn(TypeTag<int8_t>{});
    case DType::kInt16:
      return fn(TypeTag<int16_t>{});
    case DType::kInt32:
      return fn(TypeTag<int32_t>{});
    case DType::kInt64:
      return fn(TypeTag<int64_t>{});
    case DType::kUInt8:
      return fn(TypeTag<uint8_t>{});
    case DType::kUInt16:
      return fn(TypeTag<uint16_t>{});
    case DType::kUInt32:
      return fn(TypeTag<uint32_t>{});
    case DType::kUInt64:
      return fn(TypeTag<uint64_t>{});
    default:
      FailDType(t);
  }
}

// Data movement only: an unsigned integer (or pair) of the element's size.
struct Bytes16 {
  uint64_t low, high;
};
template <class Fn>
decltype(auto) DispatchBySize(DType t, Fn&& fn) {
  switch (ItemSize(t)) {
    case 1:
      return fn(TypeTag<uint8_t>{});
    case 2:
      return fn(TypeTag<uint16_t>{});
    case 4:
      return fn(TypeTag<uint32_t>{});
    case 8:
      return fn(TypeTag<uint64_t>{});
    case 16:
      return fn(TypeTag<Bytes16>{});
    default:
      FailDType(t);
  }
}

}  // namespace toolkit
