// Functions of two operands over spans; an operand may be one repeated element.
#include "simd/elementwise.h"
#include "simd/math.h"
#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

// R is the result's element type. Plain loops, vectorised by the compiler.
template <class T, class R, class Op>
void Plain(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step) {
  R* out = static_cast<R*>(y);
  const T* p = static_cast<const T*>(a);
  const T* q = static_cast<const T*>(b);
  const Op op;
  if (a_step && b_step) {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = op(p[i], q[i]);
  } else if (a_step) {
    const T s = n > 0 ? *q : T(0);
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = op(p[i], s);
  } else if (b_step) {
    const T s = n > 0 ? *p : T(0);
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = op(s, q[i]);
  } else if (n > 0) {
    const R r = op(*p, *q);
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = r;
  }
}

// Integer arithmetic wraps: computed in the unsigned type of at least 32 bits.
template <class T>
struct Wrapping {
  using type = T;
};
template <>
struct Wrapping<int8_t> {
  using type = uint32_t;
};
template <>
struct Wrapping<uint8_t> {
  using type = uint32_t;
};
template <>
struct Wrapping<int16_t> {
  using type = uint32_t;
};
template <>
struct Wrapping<uint16_t> {
  using type = uint32_t;
};
template <>
struct Wrapping<int32_t> {
  using type = uint32_t;
};
template <>
struct Wrapping<int64_t> {
  using type = uint64_t;
};
template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;
template <>
constexpr bool kIsFloat<double> = true;

#define TK_WRAPPING_OP(Name, sign)                                     \
  struct Name {                                                        \
    template <class T>                                                 \
    T operator()(T a, T b) const {                                     \
      using U = typename Wrapping<T>::type;                            \
      return static_cast<T>(static_cast<U>(a) sign static_cast<U>(b)); \
    }                                                                  \
  };
TK_WRAPPING_OP(AddOp, +)
TK_WRAPPING_OP(SubOp, -)
TK_WRAPPING_OP(MulOp, *)
#undef TK_WRAPPING_OP

// Integer quotients truncate; a divisor of 0 gives 0, and MIN / -1 wraps.
struct DivOp {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kIsFloat<T>) {
      return a / b;
    } else {
      if (b == 0) return 0;
      if (static_cast<T>(-1) < T(0) && b == static_cast<T>(-1)) return SubOp()(T(0), a);
      return static_cast<T>(a / b);
    }
  }
};
// The sign of the dividend, as C's fmod and %.
struct FModOp {
  float operator()(float a, float b) const { return fmodf(a, b); }
  double operator()(double a, double b) const { return fmod(a, b); }
  template <class T>
  T operator()(T a, T b) const {
    if (b == 0 || (static_cast<T>(-1) < T(0) && b == static_cast<T>(-1))) return 0;
    return static_cast<T>(a % b);
  }
};
// The sign of the divisor, as Python's %.
struct ModOp {
  template <class T>
  T operator()(T a, T b) const {
    const T r = FModOp()(a, b);
    if constexpr (kIsFloat<T>) {
      if (r == T(0)) return static_cast<T>(__builtin_copysign(0.0, static_cast<double>(b)));
    }
    return r != T(0) && (r < T(0)) != (b < T(0)) ? static_cast<T>(r + b) : r;
  }
};
// NaN in either operand is the result, as numpy.minimum.
struct MinOp {
  template <class T>
  T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
struct MaxOp {
  template <class T>
  T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct PowOp {
  double operator()(double a, double b) const { return pow(a, b); }
  template <class T>
  T operator()(T base, T exponent) const {  // By squaring, wrapping.
    if (exponent < T(0))
      return base == T(1)                 ? T(1)
             : base == static_cast<T>(-1) ? (exponent & 1 ? static_cast<T>(-1) : T(1))
                                          : T(0);
    T result = 1;
    for (;;) {
      if (exponent & 1) result = MulOp()(result, base);
      exponent = static_cast<T>(exponent >> 1);
      if (exponent == 0) return result;
      base = MulOp()(base, base);
    }
  }
};
struct PReluOp {
  template <class T>
  T operator()(T x, T slope) const {
    return x < T(0) ? MulOp()(x, slope) : x;
  }
};
struct EqualOp {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a == b;
  }
};
struct LessOp {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqualOp {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a <= b;
  }
};
struct AndOp {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};
struct OrOp {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};
struct XorOp {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};
// Shifts by less than 0 or by the width or more leave the sign alone: 0, or -1 to the right.
struct ShiftLeftOp {
  template <class T>
  T operator()(T a, T b) const {
    using U = typename Wrapping<T>::type;
    constexpr U kWidth = sizeof(T) * 8;
    return static_cast<U>(b) < kWidth ? static_cast<T>(static_cast<U>(a) << static_cast<U>(b))
                                      : T(0);
  }
};
struct ShiftRightOp {
  template <class T>
  T operator()(T a, T b) const {
    using U = typename Wrapping<T>::type;
    constexpr U kWidth = sizeof(T) * 8;
    if (static_cast<U>(b) < kWidth) return static_cast<T>(a >> b);
    return a < T(0) ? static_cast<T>(-1) : T(0);
  }
};

void PowF32(void* y_, const void* a_, const void* b_, int64_t n, int a_step, int b_step) {
  float* y = static_cast<float*>(y_);
  const float* a = static_cast<const float*>(a_);
  const float* b = static_cast<const float*>(b_);
  ForVectors<float>(
      n,
      [=](int64_t i) TK_LAMBDA_INLINE {
        Store(y + i, Pow(a_step ? Load(a + i) : Splat(*a), b_step ? Load(b + i) : Splat(*b)));
      },
      [=](int64_t i, int64_t m) TK_LAMBDA_INLINE {
        const F32 p = a_step ? LoadPart(a + i, m) : Splat(*a);
        const F32 q = b_step ? LoadPart(b + i, m) : Splat(*b);
        StorePart(y + i, Pow(p, q), m);
      });
}

#define TK_ROW_INTS(Op)                                                                        \
  Plain<int8_t, int8_t, Op>, Plain<int16_t, int16_t, Op>, Plain<int32_t, int32_t, Op>,         \
      Plain<int64_t, int64_t, Op>, Plain<uint8_t, uint8_t, Op>, Plain<uint16_t, uint16_t, Op>, \
      Plain<uint32_t, uint32_t, Op>, Plain<uint64_t, uint64_t, Op>
#define TK_ROW(Op) {Plain<float, float, Op>, Plain<double, double, Op>, TK_ROW_INTS(Op)}
#define TK_ROW_BOOL(Op)                                                                     \
  {Plain<float, uint8_t, Op>,   Plain<double, uint8_t, Op>,   Plain<int8_t, uint8_t, Op>,   \
   Plain<int16_t, uint8_t, Op>, Plain<int32_t, uint8_t, Op>,  Plain<int64_t, uint8_t, Op>,  \
   Plain<uint8_t, uint8_t, Op>, Plain<uint16_t, uint8_t, Op>, Plain<uint32_t, uint8_t, Op>, \
   Plain<uint64_t, uint8_t, Op>}

}  // namespace

extern const BinaryTable binary_table = {{
    TK_ROW(AddOp),
    TK_ROW(SubOp),
    TK_ROW(MulOp),
    TK_ROW(DivOp),
    TK_ROW(MinOp),
    TK_ROW(MaxOp),
    {PowF32, Plain<double, double, PowOp>, TK_ROW_INTS(PowOp)},
    TK_ROW(ModOp),
    TK_ROW(FModOp),
    TK_ROW(PReluOp),
    TK_ROW_BOOL(EqualOp),
    TK_ROW_BOOL(LessOp),
    TK_ROW_BOOL(LessOrEqualOp),
    {nullptr, nullptr, TK_ROW_INTS(AndOp)},
    {nullptr, nullptr, TK_ROW_INTS(OrOp)},
    {nullptr, nullptr, TK_ROW_INTS(XorOp)},
    {nullptr, nullptr, TK_ROW_INTS(ShiftLeftOp)},
    {nullptr, nullptr, TK_ROW_INTS(ShiftRightOp)},
}};

}  // namespace toolkit::TOOLKIT_ISA_NS
