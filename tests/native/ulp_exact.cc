// The exact functions. A file of its own: vectors of the C library's mathematics need -ffast-math.
#include <cmath>

#include "tests/native/ulp.h"

namespace toolkit {
namespace {

// A function of double over arrays.
#define TK_EXACT(Name, expression)                      \
  void Name(double* y, const double* from, int64_t n) { \
    for (int64_t i = 0; i < n; ++i) {                   \
      const double x = from[i];                         \
      y[i] = expression;                                \
    }                                                   \
  }
TK_EXACT(ExactExp, std::exp(x))
TK_EXACT(ExactLog, std::log(x))
TK_EXACT(ExactTanh, std::tanh(x))
TK_EXACT(ExactErf, std::erf(x))
TK_EXACT(ExactSigmoid, 1 / (1 + std::exp(-x)))
TK_EXACT(ExactGelu, 0.5 * x * std::erfc(-x * 0.70710678118654752440))
TK_EXACT(ExactGeluTanh, x / (1 + std::exp(-x * (0.07135481627260025 * x * x + 1.5957691216057308))))
TK_EXACT(ExactSwish, x / (1 + std::exp(-x)))
TK_EXACT(ExactSoftplus, (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))))
TK_EXACT(ExactSin, std::sin(x))
TK_EXACT(ExactCos, std::cos(x))
TK_EXACT(ExactTan, std::tan(x))
TK_EXACT(ExactSqrt, std::sqrt(x))
TK_EXACT(ExactReciprocal, 1 / x)
TK_EXACT(ExactElu, x < 0 ? std::expm1(x) : x)
TK_EXACT(ExactAsin, std::asin(x))
TK_EXACT(ExactAcos, std::acos(x))
TK_EXACT(ExactAtan, std::atan(x))
TK_EXACT(ExactSinh, std::sinh(x))
TK_EXACT(ExactCosh, std::cosh(x))
TK_EXACT(ExactAsinh, std::asinh(x))
TK_EXACT(ExactAcosh, std::acosh(x))
TK_EXACT(ExactAtanh, std::atanh(x))
#undef TK_EXACT

// tanh(log(1 + e)) = n / (n + 2), n = e (e + 2).
void ExactMish(double* y, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double e = std::exp(x[i] < 40 ? x[i] : 40), m = e * (e + 2);
    y[i] = x[i] * (m / (m + 2));
  }
}

}  // namespace

void ExactPow(double* y, const double* x, double exponent, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::pow(x[i], exponent);
}

void ExactRsqrt(double* y, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = 1 / std::sqrt(x[i]);
}

const std::vector<Function>& Functions() {
  static const std::vector<Function> functions = {
      {"exp", UnaryOp::kExp, ExactExp, {}},
      {"log", UnaryOp::kLog, ExactLog, {}},
      {"tanh", UnaryOp::kTanh, ExactTanh, {}},
      {"erf", UnaryOp::kErf, ExactErf, {}},
      {"sigmoid", UnaryOp::kSigmoid, ExactSigmoid, {}},
      {"gelu", UnaryOp::kGelu, ExactGelu, {}},
      {"gelu_tanh", UnaryOp::kGeluTanh, ExactGeluTanh, {}},
      {"sin", UnaryOp::kSin, ExactSin, {}},
      {"cos", UnaryOp::kCos, ExactCos, {}},
      {"tan", UnaryOp::kTan, ExactTan, {}},
      {"swish", UnaryOp::kSwish, ExactSwish, {1.0}},
      {"softplus", UnaryOp::kSoftplus, ExactSoftplus, {}},
      {"mish", UnaryOp::kMish, ExactMish, {}},
      {"elu", UnaryOp::kElu, ExactElu, {1.0}},
      {"sqrt", UnaryOp::kSqrt, ExactSqrt, {}},
      {"reciprocal", UnaryOp::kReciprocal, ExactReciprocal, {}},
      {"asin", UnaryOp::kAsin, ExactAsin, {}},
      {"acos", UnaryOp::kAcos, ExactAcos, {}},
      {"atan", UnaryOp::kAtan, ExactAtan, {}},
      {"sinh", UnaryOp::kSinh, ExactSinh, {}},
      {"cosh", UnaryOp::kCosh, ExactCosh, {}},
      {"asinh", UnaryOp::kAsinh, ExactAsinh, {}},
      {"acosh", UnaryOp::kAcosh, ExactAcosh, {}},
      {"atanh", UnaryOp::kAtanh, ExactAtanh, {}},
  };
  return functions;
}

}  // namespace toolkit
