#include "core/dtype.h"

namespace toolkit {

namespace {
struct Row {
  const char* name;
  size_t size;
};
constexpr Row kRows[] = {
    {"undefined", 0},
    {"float32", 4},
    {"uint8", 1},
    {"int8", 1},
    {"uint16", 2},
    {"int16", 2},
    {"int32", 4},
    {"int64", 8},
    {"string", 8},
    {"bool", 1},
    {"float16", 2},
    {"float64", 8},
    {"uint32", 4},
    {"uint64", 8},
    {"complex64", 8},
    {"complex128", 16},
    {"bfloat16", 2},
    {"float8_e4m3fn", 1},
    {"float8_e4m3fnuz", 1},
    {"float8_e5m2", 1},
    {"float8_e5m2fnuz", 1},
    {"uint4", 1},
    {"int4", 1},
    {"float4_e2m1fn", 1},
    {"float8_e8m0fnu", 1},
    {"uint2", 1},
    {"int2", 1},
    {"float6_e2m3fn", 1},
    {"float6_e3m2fn", 1},
};
constexpr Row kKinds[] = {{"sequence", 0}, {"map", 0}, {"optional without a value", 0}};
const Row& RowOf(DType t) {
  if (t >= DType::kSequence && t <= DType::kNone)
    return kKinds[static_cast<int>(t) - static_cast<int>(DType::kSequence)];
  const auto i = static_cast<size_t>(t);
  return kRows[i < sizeof(kRows) / sizeof(kRows[0]) ? i : 0];
}
}  // namespace

size_t ItemSize(DType t) { return RowOf(t).size; }
const char* Name(DType t) { return RowOf(t).name; }

void FailDType(DType got) {
  Fail(ErrorKind::kDType, "this operation has no kernel for ", Name(got),
       ". Cast the input to a supported type; `toolkit ops` lists them");
}

}  // namespace toolkit
