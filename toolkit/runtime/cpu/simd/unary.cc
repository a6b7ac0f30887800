// Functions of one operand. float32: vectors of math.h; float64: the C library or plain loops.
#include "simd/elementwise.h"
#include "simd/inverse.h"
#include "simd/math.h"
#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

// Scalar functors: plain loops that the compiler vectorises where it can.
template <class T, class Op>
void Plain(void* y, const void* x, int64_t n, const double* params) {
  const Op op(params);
  T* out = static_cast<T*>(y);
  const T* in = static_cast<const T*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = op(in[i]);
}
template <class T, class Op>
void PlainToBool(void* y, const void* x, int64_t n, const double* params) {
  const Op op(params);
  uint8_t* out = static_cast<uint8_t*>(y);
  const T* in = static_cast<const T*>(x);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = op(in[i]);
}

struct NoParams {
  explicit NoParams(const double*) {}
};
struct NegOp : NoParams {
  using NoParams::NoParams;
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(-x);
  }
  int32_t operator()(int32_t x) const {
    return static_cast<int32_t>(0u - static_cast<uint32_t>(x));
  }
  int64_t operator()(int64_t x) const {
    return static_cast<int64_t>(0ull - static_cast<uint64_t>(x));
  }
};
struct AbsOp : NoParams {
  using NoParams::NoParams;
  float operator()(float x) const { return __builtin_fabsf(x); }
  double operator()(double x) const { return __builtin_fabs(x); }
  int32_t operator()(int32_t x) const { return x < 0 ? NegOp(nullptr)(x) : x; }
  int64_t operator()(int64_t x) const { return x < 0 ? NegOp(nullptr)(x) : x; }
  template <class T>
  T operator()(T x) const {
    return x < T(0) ? static_cast<T>(-x) : x;
  }
};
struct SignOp : NoParams {
  using NoParams::NoParams;
  template <class T>
  T operator()(T x) const {
    return x > T(0) ? T(1) : x < T(0) ? static_cast<T>(-1) : x == x ? T(0) : x;
  }
};
struct ReluOp : NoParams {
  using NoParams::NoParams;
  template <class T>
  T operator()(T x) const {
    return x < T(0) ? T(0) : x;
  }
};
struct BitNotOp : NoParams {
  using NoParams::NoParams;
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(~x);
  }
};
struct NotOp : NoParams {
  using NoParams::NoParams;
  uint8_t operator()(uint8_t x) const { return x == 0; }
};
struct IsNaNOp : NoParams {
  using NoParams::NoParams;
  template <class T>
  uint8_t operator()(T x) const {
    return x != x;
  }
};
struct IsInfOp {  // params: detect_negative, detect_positive.
  explicit IsInfOp(const double* p) : negative(p[0] != 0), positive(p[1] != 0) {}
  template <class T>
  uint8_t operator()(T x) const {
    const T inf = static_cast<T>(kInfinity);
    return (positive & (x == inf)) | (negative & (x == -inf));
  }
  bool negative, positive;
};

#define TK_FLOAT_OP(Name, on_float, on_double)              \
  struct Name : NoParams {                                  \
    using NoParams::NoParams;                               \
    float operator()(float x) const { return on_float; }    \
    double operator()(double x) const { return on_double; } \
  };
TK_FLOAT_OP(SqrtOp, __builtin_sqrtf(x), __builtin_sqrt(x))
TK_FLOAT_OP(ReciprocalOp, 1.0f / x, 1.0 / x)
TK_FLOAT_OP(CeilOp, __builtin_ceilf(x), __builtin_ceil(x))
TK_FLOAT_OP(FloorOp, __builtin_floorf(x), __builtin_floor(x))
TK_FLOAT_OP(RoundOp, __builtin_rintf(x), __builtin_rint(x))
TK_FLOAT_OP(SoftsignOp, (x / (1.0f + __builtin_fabsf(x))), (x / (1.0 + __builtin_fabs(x))))
TK_FLOAT_OP(AsinOp, asinf(x), asin(x))
TK_FLOAT_OP(AcosOp, acosf(x), acos(x))
TK_FLOAT_OP(AtanOp, atanf(x), atan(x))
TK_FLOAT_OP(SinhOp, sinhf(x), sinh(x))
TK_FLOAT_OP(CoshOp, coshf(x), cosh(x))
TK_FLOAT_OP(AsinhOp, asinhf(x), asinh(x))
TK_FLOAT_OP(AcoshOp, acoshf(x), acosh(x))
TK_FLOAT_OP(AtanhOp, atanhf(x), atanh(x))
TK_FLOAT_OP(ExpOp, expf(x), exp(x))
TK_FLOAT_OP(LogOp, logf(x), log(x))
TK_FLOAT_OP(TanhOp, tanhf(x), tanh(x))
TK_FLOAT_OP(ErfOp, erff(x), erf(x))
TK_FLOAT_OP(SinOp, sinf(x), sin(x))
TK_FLOAT_OP(CosOp, cosf(x), cos(x))
TK_FLOAT_OP(TanOp, tanf(x), tan(x))
#undef TK_FLOAT_OP

// float64 activations. Each has a float32 twin below or in math.h.
#define TK_DOUBLE_OP(Name, expression)                       \
  struct Name {                                              \
    explicit Name(const double* params) : p(params) {}       \
    double operator()(double x) const { return expression; } \
    const double* p;                                         \
  };
double Logistic(double x) { return 1.0 / (1.0 + exp(-x)); }
double SoftplusOf(double x) { return (x > 0 ? x : x == x ? 0 : x) + log1p(exp(-fabs(x))); }
TK_DOUBLE_OP(SigmoidF64, Logistic(x))
TK_DOUBLE_OP(SoftplusF64, SoftplusOf(x))
TK_DOUBLE_OP(GeluF64, x < -40 ? -0.0 : 0.5 * x * erfc(-x * 0.70710678118654752440))
TK_DOUBLE_OP(GeluTanhF64,
             x < -40 ? -0.0 : x * Logistic(x * (0.07135481627260025 * x * x + 1.5957691216057308)))
TK_DOUBLE_OP(MishF64, x < -800 ? -0.0 : x * tanh(SoftplusOf(x)))
TK_DOUBLE_OP(SwishF64, x* Logistic(p[0] * x))
TK_DOUBLE_OP(EluF64, x < 0 ? p[0] * expm1(x) : x)
TK_DOUBLE_OP(SeluF64, x > 0 ? p[1] * x : p[1] * (p[0] * expm1(x)))
TK_DOUBLE_OP(CeluF64, x < 0 ? p[0] * expm1(x / p[0]) : x)
#undef TK_DOUBLE_OP

// Piecewise linear activations of both types; the parameters are rounded to T first.
#define TK_LINEAR_OP(Name, expression)                                                   \
  template <class T>                                                                     \
  struct Name {                                                                          \
    explicit Name(const double* p) : a(static_cast<T>(p[0])), b(static_cast<T>(p[1])) {} \
    T operator()(T x) const { return expression; }                                       \
    T a, b;                                                                              \
  };
TK_LINEAR_OP(LeakyReluOp, x < T(0) ? a * x : x)
TK_LINEAR_OP(ThresholdedReluOp, x > a ? x : T(0))
template <class T>
T Unit(T x) {  // Clamped to [0, 1]; NaN stays.
  x = x < T(0) ? T(0) : x;
  return x > T(1) ? T(1) : x;
}
TK_LINEAR_OP(HardSigmoidOp, Unit(a* x + b))
TK_LINEAR_OP(HardSwishOp, x* Unit(a* x + b))
TK_LINEAR_OP(ShrinkOp, x<T(0) - a ? x + b : x> a ? x - b : T(0))
#undef TK_LINEAR_OP

using P = const double*;
#define TK_VECTOR_OP(Name, expression)                                    \
  void Name(void* y, const void* x_, int64_t n, P p) {                    \
    [[maybe_unused]] const float a = p ? static_cast<float>(p[0]) : 0.0f; \
    [[maybe_unused]] const float b = p ? static_cast<float>(p[1]) : 0.0f; \
    MapVectors(static_cast<float*>(y), static_cast<const float*>(x_), n,  \
               [=](F32 x) TK_LAMBDA_INLINE { return expression; });       \
  }
TK_VECTOR_OP(ExpF32, Exp(x))
TK_VECTOR_OP(LogF32, Log(x))
TK_VECTOR_OP(TanhF32, Tanh(x))
TK_VECTOR_OP(SigmoidF32, Sigmoid(x))
TK_VECTOR_OP(ErfF32, Erf(x))
TK_VECTOR_OP(GeluF32, Gelu(x))
TK_VECTOR_OP(GeluTanhF32, GeluTanh(x))
TK_VECTOR_OP(AsinF32, Asin(x))
TK_VECTOR_OP(AcosF32, Acos(x))
TK_VECTOR_OP(AtanF32, Atan(x))
TK_VECTOR_OP(SinhF32, Sinh(x))
TK_VECTOR_OP(CoshF32, Cosh(x))
TK_VECTOR_OP(AsinhF32, Asinh(x))
TK_VECTOR_OP(AcoshF32, Acosh(x))
TK_VECTOR_OP(AtanhF32, Atanh(x))
TK_VECTOR_OP(SoftplusF32, Softplus(x))
TK_VECTOR_OP(MishF32, Mish(x))
TK_VECTOR_OP(SwishF32, x / (1.0f + Exp(-a * x)))
TK_VECTOR_OP(EluF32, x < 0.0f ? a * Expm1(x) : x)
TK_VECTOR_OP(SeluF32, x > 0.0f ? b * x : b * (a * Expm1(x)))
TK_VECTOR_OP(CeluF32, x < 0.0f ? a * Expm1(x / a) : x)
#undef TK_VECTOR_OP

// The vector reduction holds below kTrigLimit; rarer arguments go to the C library one by one.
template <F32 (*Fn)(F32), float (*Exact)(float)>
void Trig(void* y_, const void* x_, int64_t n, P) {
  float* y = static_cast<float*>(y_);
  const float* x = static_cast<const float*>(x_);
  constexpr int kBlock = 256;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t m = n - begin < kBlock ? n - begin : kBlock;
    float large[kBlock];
    int any = 0;
    for (int64_t i = 0; i < m; ++i) any |= !(__builtin_fabsf(x[begin + i]) < kTrigLimit);
    if (any) memcpy(large, x + begin, static_cast<size_t>(m) * sizeof(float));
    MapVectors(y + begin, x + begin, m, [](F32 v) TK_LAMBDA_INLINE { return Fn(v); });
    if (!any) continue;
    for (int64_t i = 0; i < m; ++i)
      if (!(__builtin_fabsf(large[i]) < kTrigLimit)) y[begin + i] = Exact(large[i]);
  }
}

#define TK_FLOATS(Op) {Plain<float, Op>, Plain<double, Op>}
#define TK_TEMPLATED(Op) {Plain<float, Op<float>>, Plain<double, Op<double>>}
#define TK_INTS(Op)                                                              \
  Plain<int8_t, Op>, Plain<int16_t, Op>, Plain<int32_t, Op>, Plain<int64_t, Op>, \
      Plain<uint8_t, Op>, Plain<uint16_t, Op>, Plain<uint32_t, Op>, Plain<uint64_t, Op>
#define TK_NUMBERS(Op) {Plain<float, Op>, Plain<double, Op>, TK_INTS(Op)}

}  // namespace

extern const UnaryTable unary_table = {{
    {ExpF32, Plain<double, ExpOp>},
    {LogF32, Plain<double, LogOp>},
    TK_FLOATS(SqrtOp),
    TK_FLOATS(ReciprocalOp),
    {SigmoidF32, Plain<double, SigmoidF64>},
    {TanhF32, Plain<double, TanhOp>},
    {ErfF32, Plain<double, ErfOp>},
    {GeluF32, Plain<double, GeluF64>},
    {GeluTanhF32, Plain<double, GeluTanhF64>},
    {SoftplusF32, Plain<double, SoftplusF64>},
    TK_FLOATS(SoftsignOp),
    {MishF32, Plain<double, MishF64>},
    {SwishF32, Plain<double, SwishF64>},
    {EluF32, Plain<double, EluF64>},
    {SeluF32, Plain<double, SeluF64>},
    {CeluF32, Plain<double, CeluF64>},
    TK_TEMPLATED(LeakyReluOp),
    TK_TEMPLATED(ThresholdedReluOp),
    TK_TEMPLATED(HardSigmoidOp),
    TK_TEMPLATED(HardSwishOp),
    TK_TEMPLATED(ShrinkOp),
    {Trig<Sin, sinf>, Plain<double, SinOp>},
    {Trig<Cos, cosf>, Plain<double, CosOp>},
    {Trig<Tan, tanf>, Plain<double, TanOp>},
    {AsinF32, Plain<double, AsinOp>},
    {AcosF32, Plain<double, AcosOp>},
    {AtanF32, Plain<double, AtanOp>},
    {SinhF32, Plain<double, SinhOp>},
    {CoshF32, Plain<double, CoshOp>},
    {AsinhF32, Plain<double, AsinhOp>},
    {AcoshF32, Plain<double, AcoshOp>},
    {AtanhF32, Plain<double, AtanhOp>},
    TK_FLOATS(CeilOp),
    TK_FLOATS(FloorOp),
    TK_FLOATS(RoundOp),
    {PlainToBool<float, IsNaNOp>, PlainToBool<double, IsNaNOp>},
    {PlainToBool<float, IsInfOp>, PlainToBool<double, IsInfOp>},
    TK_NUMBERS(NegOp),
    TK_NUMBERS(AbsOp),
    TK_NUMBERS(SignOp),
    TK_NUMBERS(ReluOp),
    {nullptr, nullptr, TK_INTS(BitNotOp)},
    {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, Plain<uint8_t, NotOp>},
}};

}  // namespace toolkit::TOOLKIT_ISA_NS
