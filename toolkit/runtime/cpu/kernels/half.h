// Half precision where a kernel has no arithmetic of its own for it: as scalars that convert to
// float, or as whole tensors widened to float32 and narrowed again.
#pragma once

#include <cstring>
#include <type_traits>

#include "kernels/elementwise.h"

namespace toolkit {

// Elements as they are stored. Arithmetic on them runs in float; a result narrows to nearest even.
struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  Float16(float x);  // NOLINT: conversions make templates over numbers serve halves too.
  operator float() const;
};
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  BFloat16(float x);  // NOLINT
  operator float() const;
};

template <class T>
constexpr bool kIsHalf = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
template <class T>
constexpr bool kIsFloating = std::is_floating_point_v<T> || kIsHalf<T>;
// The type that sums of T are kept in.
template <class T>
using SumOf = std::conditional_t<kIsFloating<T>, double, uint64_t>;

template <class Fn>
decltype(auto) DispatchAnyFloat(DType t, Fn&& fn) {
  if (t == DType::kFloat16) return fn(TypeTag<Float16>{});
  if (t == DType::kBFloat16) return fn(TypeTag<BFloat16>{});
  return DispatchFloats(t, fn);
}
template <class Fn>
decltype(auto) DispatchAnyNumber(DType t, Fn&& fn) {
  if (t == DType::kFloat16) return fn(TypeTag<Float16>{});
  if (t == DType::kBFloat16) return fn(TypeTag<BFloat16>{});
  return DispatchNumbers(t, fn);
}

// `x` as float32 in scratch memory where it is half precision, else `x` itself.
Tensor Widened(KernelContext& c, const Tensor& x);

// `y` (half precision) from its float32 twin.
void Narrow(ThreadPool& pool, const Tensor& wide, const Tensor& y);

// An output that is computed in float32 where it is half precision.
class WideOutput {
 public:
  WideOutput(KernelContext& c, int index, DType dtype, const Shape& shape);
  const Tensor& tensor() const { return wide_; }  // To be written.
  void Finish();                                  // Then called once.

 private:
  KernelContext& c_;
  Tensor output_, wide_;
};

}  // namespace toolkit
