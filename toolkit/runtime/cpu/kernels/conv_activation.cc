#include "kernels/conv_activation.h"

#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/elementwise.h"

namespace toolkit {

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Named {
  const char* name;
  UnaryOp op;
  size_t params;
};
// HardSwish has no attributes; its constants are those of the operator.
constexpr Named kFunctions[] = {
    {"LeakyRelu", UnaryOp::kLeakyRelu, 1},
    {"Sigmoid", UnaryOp::kSigmoid, 0},
    {"HardSigmoid", UnaryOp::kHardSigmoid, 2},
    {"HardSwish", UnaryOp::kHardSwish, 0},
    {"Tanh", UnaryOp::kTanh, 0},
    {"Elu", UnaryOp::kElu, 1},
    {"Swish", UnaryOp::kSwish, 1},
    {"Mish", UnaryOp::kMish, 0},
    {"Softplus", UnaryOp::kSoftplus, 0},
};
}  // namespace

ConvActivation::ConvActivation(const Attributes& attributes) {
  const std::string name = attributes.String("activation", "");
  const std::vector<double> params = attributes.Floats("activation_params");
  const auto need = [&](size_t n) {
    TK_REQUIRE(params.size() == n, ErrorKind::kInvalidArgument, "activation_params of ", name,
               " must have ", n, " values, got ", params.size());
  };
  if (name.empty()) return;
  if (name == "Relu" || name == "Clip") {
    need(name == "Relu" ? 0 : 2);
    bounded_ = true;
    low_ = name == "Relu" ? 0 : params[0];
    high_ = name == "Relu" ? kInfinity : params[1];
    return;
  }
  for (const Named& f : kFunctions) {
    if (name != f.name) continue;
    need(f.params);
    op_ = f.op;
    for (size_t i = 0; i < f.params; ++i) params_[i] = params[i];
    if (f.op == UnaryOp::kHardSwish) params_[0] = 1.0 / 6, params_[1] = 0.5;
    return;
  }
  Fail(ErrorKind::kInvalidArgument, "activation must be an operator that a convolution can end ",
       "with, got ", name);
}

template <class T>
void ConvActivation::Apply(ConvEpilogue<T>* epilogue) const {
  if (bounded_) {
    epilogue->low = static_cast<T>(low_);
    epilogue->high = static_cast<T>(high_);
  }
  if (op_ == UnaryOp::kCount) return;
  epilogue->activation =
      FunctionOf(op_, sizeof(T) == sizeof(float) ? Element::kF32 : Element::kF64);
  epilogue->params = params_;
}

template void ConvActivation::Apply<float>(ConvEpilogue<float>*) const;
template void ConvActivation::Apply<double>(ConvEpilogue<double>*) const;

}  // namespace toolkit
