#include "kernels/ml.h"

#include <algorithm>
#include <cmath>

namespace toolkit {
namespace {

// By Winitzki's approximation, as onnx.reference and onnxruntime: 2e-3 of relative error.
template <class T>
T InverseErf(T x) {
  const T a = T(0.147f), log = std::log((1 - x) * (1 + x));
  const T v = 2 / (T(3.14159f) * a) + T(0.5) * log;
  return std::copysign(std::sqrt(-v + std::sqrt(v * v - 1 / a * log)), x);
}
template <class T>
T Probit(T x) {
  return T(1.41421356f) * InverseErf(2 * x - 1);
}
template <class T>
T Logistic(T x) {
  const T v = 1 / (1 + std::exp(-std::abs(x)));
  return x < 0 ? 1 - v : v;
}

// Scores of 0 stay 0 with `keep_zeros`.
template <class T>
void Softmax(T* x, int64_t n, bool keep_zeros) {
  const T top = *std::max_element(x, x + n), zero = std::exp(-top);
  T sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool kept = keep_zeros && std::abs(x[i]) <= T(1e-7);
    x[i] = kept ? x[i] * zero : std::exp(x[i] - top);
    sum += x[i];
  }
  for (int64_t i = 0; i < n; ++i) x[i] = sum == 0 ? T(0.5) : x[i] / sum;
}

template <class T>
Tensor Pair(T no, T yes) {
  return TensorOf(std::vector<T>{no, yes});
}

}  // namespace

PostTransform PostTransformOf(const Attributes& a) {
  static constexpr const char* kNames[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  const std::string name = a.String("post_transform", "NONE");
  for (int i = 0; i < 5; ++i)
    if (name == kNames[i]) return static_cast<PostTransform>(i);
  Fail(ErrorKind::kInvalidArgument,
       "attribute 'post_transform' must be NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT, got '",
       name, "'");
}

template <class T>
void Transform(PostTransform transform, T* x, int64_t n) {
  switch (transform) {
    case PostTransform::kNone:
      return;
    case PostTransform::kSoftmax:
      return Softmax(x, n, false);
    case PostTransform::kSoftmaxZero:
      return Softmax(x, n, true);
    case PostTransform::kLogistic:
      for (int64_t i = 0; i < n; ++i) x[i] = Logistic(x[i]);
      return;
    case PostTransform::kProbit:
      for (int64_t i = 0; i < n; ++i) x[i] = Probit(x[i]);
  }
}

template void Transform(PostTransform transform, float* x, int64_t n);
template void Transform(PostTransform transform, double* x, int64_t n);

Rows::Rows(const Tensor& x) {
  TK_REQUIRE(x.rank() == 1 || x.rank() == 2, ErrorKind::kShape,
             "X must have shape (N, F) or (F), got ", x.shape().ToString());
  count = x.rank() == 2 ? x.dim(0) : 1;
  width = x.dim(x.rank() - 1);
}

template <class T>
const T* ElementsAs(KernelContext& c, const Tensor& x) {
  if (x.dtype() == DTypeOf<T>::kValue) return x.data<T>();
  T* y = c.Scratch<T>(x.size());
  DispatchNumbers(x.dtype(), [&](auto tag) {
    using From = typename decltype(tag)::type;
    std::transform(x.data<From>(), x.data<From>() + x.size(), y,
                   [](From v) { return static_cast<T>(v); });
  });
  return y;
}
template const float* ElementsAs(KernelContext& c, const Tensor& x);
template const double* ElementsAs(KernelContext& c, const Tensor& x);

Labels::Labels(const Attributes& a, const char* integers, const char* strings) {
  const std::vector<std::string> texts = a.Strings(strings);
  const std::vector<int64_t> numbers = a.Ints(integers);
  TK_REQUIRE(texts.empty() != numbers.empty(), ErrorKind::kInvalidArgument,
             "one of the attributes ", integers, " and ", strings, " is required, got ",
             texts.empty() ? "neither" : "both");
  values_ = texts.empty() ? TensorOf(numbers) : TensorOf(texts);
  fallback_ = texts.empty() ? Pair<int64_t>(0, 1) : Pair<std::string>("0", "1");
}

void RequireLength(const char* name, size_t got, int64_t n) {
  TK_REQUIRE(got <= 1 || static_cast<int64_t>(got) == n, ErrorKind::kShape, "attribute '", name,
             "' must hold 1 or ", n, " values, one a feature, got ", got);
}

}  // namespace toolkit
