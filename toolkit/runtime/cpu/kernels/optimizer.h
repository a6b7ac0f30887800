// What optimizer kernels read beside tensors: hyperparameters, learning rate, step count.
#pragma once

#include <charconv>
#include <cmath>

#include "kernels/elementwise.h"

namespace toolkit {

// An attribute as the decimal that was meant: a file holds it as float32, and 1 - 0.999f is off by
// 1e-5. So a step read back from a file equals the step before it was saved.
inline double Decimal(const Attributes& a, const char* name, double fallback) {
  const auto rounded = static_cast<float>(a.Float(name, fallback));
  if (!std::isfinite(rounded)) return rounded;
  char text[32];
  const char* end = std::to_chars(text, text + sizeof(text), rounded).ptr;
  double value = 0;
  std::from_chars(text, end, value);
  return value;
}

inline double FloatScalar(const Tensor& t, const char* name) {
  TK_REQUIRE(t.size() == 1, ErrorKind::kShape, name, " must be a scalar, got shape ",
             t.shape().ToString());
  return t.dtype() == DType::kDouble  ? *t.data<double>()
         : t.dtype() == DType::kFloat ? static_cast<double>(*t.data<float>())
                                      : (FailDType(t.dtype()), 0.0);
}
inline double LearningRate(const Tensor& t) { return FloatScalar(t, "lr"); }
inline int64_t StepCount(const Tensor& t) {
  TK_REQUIRE(t.size() == 1 && t.dtype() == DType::kInt64, ErrorKind::kDType,
             "step must be an int64 scalar, got ", Name(t.dtype()), t.shape().ToString());
  return *t.data<int64_t>();
}

template <class T>
const T* Like(const Tensor& p, const Tensor& t, const char* name) {
  TK_REQUIRE(t.dtype() == p.dtype() && t.shape() == p.shape(), ErrorKind::kShape, name,
             " must be like the parameter, ", Name(p.dtype()), p.shape().ToString(), ", got ",
             Name(t.dtype()), t.shape().ToString());
  return t.data<T>();
}
template <class T>
T* OutputLike(KernelContext& c, int i, const Tensor& p) {
  return c.Output(i, p.dtype(), p.shape()).template data<T>();
}

}  // namespace toolkit
