// Elements of tensors as keys of hash tables: equal values, equal keys. A table of strings must
// hold on to a tensor of them: its keys are references (core/strings.h).
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "core/strings.h"

namespace toolkit {

// All NaNs are one key, and so are both zeros.
inline uint64_t KeyOf(double x) {
  if (x != x) return 0x7FF8000000000000u;
  if (x == 0) return 0;
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

inline uint64_t KeyAt(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::kString:
      return t.data<uint64_t>()[i];
    case DType::kFloat:
      return KeyOf(static_cast<double>(t.data<float>()[i]));
    case DType::kDouble:
      return KeyOf(t.data<double>()[i]);
    case DType::kInt64:
      return static_cast<uint64_t>(t.data<int64_t>()[i]);
    case DType::kInt32:
      return static_cast<uint64_t>(static_cast<int64_t>(t.data<int32_t>()[i]));
    case DType::kInt16:
      return static_cast<uint64_t>(static_cast<int64_t>(t.data<int16_t>()[i]));
    default:
      FailDType(t.dtype());
  }
}

// The finalizer of MurmurHash3: references and small integers differ in few bits.
struct KeyHash {
  size_t operator()(uint64_t x) const {
    x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCDu;
    x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53u;
    return static_cast<size_t>(x ^ (x >> 33));
  }
};

// Lists of attributes as tensors.
inline Tensor TensorOf(const std::vector<std::string>& items) {
  Tensor t = Tensor::Empty(DType::kString, {static_cast<int64_t>(items.size())});
  StringMaker make;
  for (size_t i = 0; i < items.size(); ++i) t.data<uint64_t>()[i] = make(items[i]);
  return t;
}
inline Tensor TensorOf(const std::vector<int64_t>& items) {
  Tensor t = Tensor::Empty(DType::kInt64, {static_cast<int64_t>(items.size())});
  std::copy(items.begin(), items.end(), t.data<int64_t>());
  return t;
}
inline Tensor TensorOf(const std::vector<double>& items) {
  Tensor t = Tensor::Empty(DType::kFloat, {static_cast<int64_t>(items.size())});
  for (size_t i = 0; i < items.size(); ++i) t.data<float>()[i] = static_cast<float>(items[i]);
  return t;
}

}  // namespace toolkit
