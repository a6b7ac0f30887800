// Names of functions in attributes of fused kernels.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "core/attributes.h"
#include "core/gemm.h"
#include "kernels/elementwise.h"

namespace toolkit {

// The function of one operand that a step of a program calls `name`.
UnaryOp FusedFunction(const std::string& name);

// What a fused kernel does to its result: attribute `map` names the function, `params` are its two.
class FusedMap {
 public:
  explicit FusedMap(const Attributes& a) : name_(a.String("map", "")) {
    if (name_.empty()) return;
    op_ = FusedFunction(name_);
    const std::vector<double> params = a.Floats("params", {0, 0});
    TK_REQUIRE(params.size() == 2, ErrorKind::kInvalidArgument,
               "attribute params: two numbers are required, got ", params.size());
    params_[0] = params[0], params_[1] = params[1];
  }
  // Null: none.
  template <class T>
  UnaryFn Function() const {
    if (name_.empty()) return nullptr;
    return FunctionOf(op_, sizeof(T) == 4 ? Element::kF32 : Element::kF64);
  }
  const double* params() const { return params_; }
  template <class T>
  void Apply(GemmArgs<T>& g) const {
    if (name_.empty()) return;
    if constexpr (std::is_floating_point_v<T>) {
      g.map = Function<T>();
      g.map_params = params_;
    } else {
      Fail(ErrorKind::kDType, "attribute map: floats are required, got integers");
    }
  }

 private:
  std::string name_;
  UnaryOp op_ = UnaryOp::kRelu;
  double params_[2] = {0, 0};
};

}  // namespace toolkit
