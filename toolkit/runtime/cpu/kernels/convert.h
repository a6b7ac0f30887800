// How elements of each type are read into a type that arithmetic runs in, and written back.
#pragma once

#include "kernels/elementwise.h"
#include "simd/narrow.h"

namespace toolkit {

struct Stored {
  Element element;       // What the type is computed in.
  UnaryFn fn = nullptr;  // To it or from it; null where the type is stored as it.
};

// `exact`: float8_e8m0's 2^-127 survives, in float64.
Stored ReadAs(DType type, bool exact);
Stored WriteAs(DType type);

// Attributes of conversions to narrow floats, as parameters of WriteAs(type).fn.
struct Rounding {
  bool saturate = true;
  PowerRounding power = PowerRounding::kUp;  // Of float8_e8m0.
};

// A conversion as steps of a tile program.
class Conversion {
 public:
  Conversion(DType from, DType to, Rounding rounding);
  void Run(ThreadPool& pool, const Tensor& x, const Tensor& y) const;

 private:
  void Add(UnaryFn fn) { steps_[count_++] = fn; }
  UnaryFn steps_[3];
  int count_ = 0;
  Rounding rounding_;
};

// Between strings and the other types, all of which have a reading or a spelling.
void CastFromStrings(const Tensor& x, Rounding rounding, const Tensor& y);
void CastToStrings(ThreadPool& pool, const Tensor& x, const Tensor& y);

}  // namespace toolkit
