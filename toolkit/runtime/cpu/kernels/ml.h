// What the operators of ai.onnx.ml share: rows of features, class labels, transforms of scores.
#pragma once

#include <vector>

#include "core/kernel.h"
#include "kernels/keys.h"

namespace toolkit {

constexpr const char* kMlDomain = "ai.onnx.ml";
// What features are given as; scores are float32.
constexpr DTypeSet kFeatures = kFloats | Bit(DType::kInt32) | Bit(DType::kInt64);

// Numbered as TreeEnsemble's attribute.
enum class PostTransform { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };
PostTransform PostTransformOf(const Attributes& a);
// On the scores of one row.
template <class T>
void Transform(PostTransform transform, T* scores, int64_t n);

// X as rows: (N, F), or (F) as one row.
struct Rows {
  explicit Rows(const Tensor& x);
  int64_t count, width;
};
// Elements of X in another type; X itself where it has that type.
template <class T>
const T* ElementsAs(KernelContext& c, const Tensor& x);

// Labels of integers or strings under one of two attributes.
class Labels {
 public:
  Labels(const Attributes& a, const char* integers, const char* strings);
  int64_t size() const { return values_.size(); }
  DType dtype() const { return values_.dtype(); }
  bool strings() const { return dtype() == DType::kString; }
  // An element's bits, for an output of `dtype`.
  uint64_t operator[](int64_t i) const { return values_.data<uint64_t>()[i]; }
  // "1" and "0", or the numbers: what a classifier says that has not two labels.
  uint64_t Fallback(bool positive) const { return fallback_.data<uint64_t>()[positive]; }
  const Tensor& values() const { return values_; }

 private:
  Tensor values_, fallback_;
};

// A list that must have one of the lengths 1 and `n`, or be absent.
void RequireLength(const char* name, size_t got, int64_t n);

}  // namespace toolkit
