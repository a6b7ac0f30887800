// Elementary functions that ONNX lacks as operators (toolkit.special): precise forms of the C
// library, and the gamma family. One pass over memory, split by elements; float32 is computed in
// its own type where the C library has it, else in float64.
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"

namespace toolkit {
namespace {

constexpr double kPi = 3.14159265358979323846;

// lgamma() writes a global sign; the reentrant one does not.
double LogGamma(double x) {
  int sign;
  return lgamma_r(x, &sign);
}

// psi(x): recurrence up to 10, then the asymptotic series (Abramowitz and Stegun 6.3.18);
// reflection below zero. 1e-15 relative but for the zeros.
double Digamma(double x) {
  if (x == 0) return std::copysign(std::numeric_limits<double>::infinity(), -x);
  if (x < 0) {
    const double whole = std::floor(x);
    if (whole == x) return std::numeric_limits<double>::quiet_NaN();
    return Digamma(1 - x) - kPi / std::tan(kPi * (x - whole));
  }
  double y = 0;
  for (; x < 10; ++x) y -= 1 / x;
  const double z = 1 / (x * x);
  constexpr double kSeries[] = {1.0 / 12,  -1.0 / 120,     1.0 / 252, -1.0 / 240,
                                1.0 / 132, -691.0 / 32760, 1.0 / 12};
  double tail = 0;
  for (int i = 6; i >= 0; --i) tail = z * (kSeries[i] + tail);
  return y + std::log(x) - 0.5 / x - tail;
}

// Rational start of 1e-9, then two steps of Newton's method.
double ErfInv(double y) {
  const double size = std::fabs(y);
  if (!(size < 1)) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return size == 1 ? std::copysign(std::numeric_limits<double>::infinity(), y) : nan;
  }
  double x;
  if (size <= 0.7) {
    const double z = y * y;
    x = y * (((-0.140543331 * z + 0.914624893) * z - 1.645349621) * z + 0.886226899) /
        ((((0.012229801 * z - 0.329097515) * z + 1.442710462) * z - 2.118377725) * z + 1);
  } else {
    const double z = std::sqrt(-std::log((1 - size) / 2));
    x = (((1.641345311 * z + 3.429567803) * z - 1.624906493) * z - 1.970840454) /
        ((1.637067800 * z + 3.543889200) * z + 1);
    x = std::copysign(x, y);
  }
  for (int i = 0; i < 2; ++i) x -= (std::erf(x) - y) / (2 / std::sqrt(kPi) * std::exp(-x * x));
  return x;
}

// The C library's, by value of both types; what a functor returns for float it computes in double.
#define TK_UNARY(Name, on_float, on_double)          \
  struct Name {                                      \
    static float Of(float x) { return on_float; }    \
    static double Of(double x) { return on_double; } \
  };
TK_UNARY(Log1pFn, log1pf(x), log1p(x))
TK_UNARY(Expm1Fn, expm1f(x), expm1(x))
TK_UNARY(Exp2Fn, exp2f(x), exp2(x))
TK_UNARY(Log2Fn, log2f(x), log2(x))
TK_UNARY(Log10Fn, log10f(x), log10(x))
TK_UNARY(ErfcFn, erfcf(x), erfc(x))
TK_UNARY(LgammaFn, static_cast<float>(LogGamma(x)), LogGamma(x))
TK_UNARY(DigammaFn, static_cast<float>(Digamma(x)), Digamma(x))
TK_UNARY(ErfInvFn, static_cast<float>(ErfInv(x)), ErfInv(x))
TK_UNARY(TruncFn, truncf(x), trunc(x))
#undef TK_UNARY
#define TK_BINARY(Name, on_float, on_double)                   \
  struct Name {                                                \
    static float Of(float x, float y) { return on_float; }     \
    static double Of(double x, double y) { return on_double; } \
  };
TK_BINARY(Atan2Fn, atan2f(x, y), atan2(x, y))
TK_BINARY(HypotFn, hypotf(x, y), hypot(x, y))
TK_BINARY(CopysignFn, copysignf(x, y), copysign(x, y))
TK_BINARY(NextafterFn, nextafterf(x, y), nextafter(x, y))
#undef TK_BINARY

template <class T, class F>
void Map(void* y, const void* x, int64_t n, const double*) {
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(y)[i] = F::Of(static_cast<const T*>(x)[i]);
}
template <class T, class F>
void Zip(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step) {
  for (int64_t i = 0; i < n; ++i)
    static_cast<T*>(y)[i] =
        F::Of(static_cast<const T*>(a)[i * a_step], static_cast<const T*>(b)[i * b_step]);
}

template <class F>
void RunUnary(KernelContext& c) {
  const Tensor& x = c.input(0);
  const Tensor& y = c.Output(0, x.dtype(), x.shape());
  TileProgram p;
  const UnaryFn fn = x.dtype() == DType::kFloat ? Map<float, F> : Map<double, F>;
  p.Unary(fn, TileProgram::kOutput, p.Input(x));
  p.Run(c.pool(), y, kSlowGrain);
}
template <class F>
void RunBinary(KernelContext& c) {
  const Tensor &a = c.input(0), &b = c.input(1);
  RequireSameDType(a, b);
  const Tensor& y = c.Output(0, a.dtype(), BroadcastShapes(a.shape(), b.shape()));
  TileProgram p;
  const BinaryFn fn = a.dtype() == DType::kFloat ? Zip<float, F> : Zip<double, F>;
  const auto u = p.Input(a), v = p.Input(b);
  p.Binary(fn, TileProgram::kOutput, u, v);
  p.Run(c.pool(), y, kSlowGrain);
}

// Euclid's algorithm on magnitudes, which always fit.
template <class T>
void GcdSpan(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step) {
  for (int64_t i = 0; i < n; ++i) {
    const auto size = [](T v) {
      const uint64_t wide = static_cast<uint64_t>(v);
      return v < T(0) ? 0 - wide : wide;
    };
    uint64_t u = size(static_cast<const T*>(a)[i * a_step]);
    uint64_t v = size(static_cast<const T*>(b)[i * b_step]);
    while (v != 0) {
      const uint64_t rest = u % v;
      u = v, v = rest;
    }
    static_cast<T*>(y)[i] = static_cast<T>(u);
  }
}
BinaryFn GcdOf(DType t) {
  switch (t) {
    case DType::kInt8:
      return GcdSpan<int8_t>;
    case DType::kInt16:
      return GcdSpan<int16_t>;
    case DType::kInt32:
      return GcdSpan<int32_t>;
    case DType::kUInt8:
      return GcdSpan<uint8_t>;
    case DType::kUInt16:
      return GcdSpan<uint16_t>;
    case DType::kUInt32:
      return GcdSpan<uint32_t>;
    case DType::kUInt64:
      return GcdSpan<uint64_t>;
    default:
      return GcdSpan<int64_t>;
  }
}
void Gcd(KernelContext& c) {
  const Tensor &a = c.input(0), &b = c.input(1);
  RequireSameDType(a, b);
  const Tensor& y = c.Output(0, a.dtype(), BroadcastShapes(a.shape(), b.shape()));
  TileProgram p;
  const auto u = p.Input(a), v = p.Input(b);
  p.Binary(GcdOf(a.dtype()), TileProgram::kOutput, u, v);
  p.Run(c.pool(), y, kSlowGrain);
}

template <class F>
Registration Unary(const char* op_type) {
  return RegisterFn(op_type, RunUnary<F>)
      .Domain("toolkit.special")
      .Types(kFloats)
      .Inplace(0, 0)
      .Widen();
}
template <class F>
Registration Binary(const char* op_type) {
  return RegisterFn(op_type, RunBinary<F>)
      .Domain("toolkit.special")
      .Types(kFloats)
      .Inplace(0, 0)
      .Inplace(1, 0)
      .Widen();
}

static const bool kFunctions[] = {
    Unary<Log1pFn>("Log1p"),
    Unary<Expm1Fn>("Expm1"),
    Unary<Exp2Fn>("Exp2"),
    Unary<Log2Fn>("Log2"),
    Unary<Log10Fn>("Log10"),
    Unary<ErfcFn>("Erfc"),
    Unary<LgammaFn>("Lgamma"),
    Unary<DigammaFn>("Digamma"),
    Unary<ErfInvFn>("ErfInv"),
    Unary<TruncFn>("Trunc"),
    Binary<Atan2Fn>("Atan2"),
    Binary<HypotFn>("Hypot"),
    Binary<CopysignFn>("Copysign"),
    // Not widened: a step of float32 is none of half precision.
    RegisterFn("Nextafter", RunBinary<NextafterFn>)
        .Domain("toolkit.special")
        .Types(kFloats)
        .Inplace(0, 0),
    RegisterFn("Gcd", Gcd).Domain("toolkit.special").Types(kInts).Inplace(0, 0).Inplace(1, 0),
};

}  // namespace
}  // namespace toolkit
