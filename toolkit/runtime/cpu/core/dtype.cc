#include "core/dtype.h"

namespace toolkit {

namespace {
struct Row {
  const char* name;
  size_t size;
};
constexpr Row kRows[] = {
    {"undefined", 0},   {"float32", 4},  {"uint8", 1},  {"int8", 1},   {"uint16", 2},
    {"int16", 2},       {"int32", 4},    {"int64", 8},  {"string", 0}, {"bool", 1},
    {"float16", 2},     {"float64", 8},  {"uint32", 4}, {"uint64", 8}, {"complex64", 8},
    {"complex128", 16}, {"bfloat16", 2},
};
const Row& RowOf(DType t) {
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
