// Reductions of rows and of columns. Floats add in vectors of their own type over blocks, and the
// blocks' results in double; integers accumulate in 64 bits.
#include "simd/reduce.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T>
struct Wide {
  using type = int64_t;
};
template <>
struct Wide<float> {
  using type = double;
};
template <>
struct Wide<double> {
  using type = double;
};
template <>
struct Wide<uint8_t> {
  using type = uint64_t;
};
template <>
struct Wide<uint16_t> {
  using type = uint64_t;
};
template <>
struct Wide<uint32_t> {
  using type = uint64_t;
};
template <>
struct Wide<uint64_t> {
  using type = uint64_t;
};
TK_INLINE double& Get(Accumulator& a, double) { return a.f; }
TK_INLINE int64_t& Get(Accumulator& a, int64_t) { return a.i; }
TK_INLINE uint64_t& Get(Accumulator& a, uint64_t) { return a.u; }

// Integers wrap: signed ones are computed in the unsigned type.
template <class V>
TK_INLINE V Plus(V a, V b) {
  return a + b;
}
template <class V>
TK_INLINE V Times(V a, V b) {
  return a * b;
}
template <class V>
TK_INLINE V Negative(V x) {
  return -x;
}
TK_INLINE int64_t Plus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
TK_INLINE int64_t Times(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
TK_INLINE int64_t Negative(int64_t x) { return static_cast<int64_t>(0 - static_cast<uint64_t>(x)); }

// V is a vector or a scalar. Start is neutral, Fold takes in an element, Join another accumulator.
struct SumOp {
  template <class V>
  static TK_INLINE V Fold(V a, V x) {
    return Plus(a, x);
  }
  template <class V>
  static TK_INLINE V Join(V a, V b) {
    return Plus(a, b);
  }
  static constexpr double kStart = 0;
};
struct SumSquareOp : SumOp {
  template <class V>
  static TK_INLINE V Fold(V a, V x) {
    return Plus(a, Times(x, x));
  }
};
struct SumAbsOp : SumOp {
  template <class V>
  static TK_INLINE V Fold(V a, V x) {
    return Plus(a, x < 0 ? Negative(x) : x);
  }
};
struct ProdOp {
  template <class V>
  static TK_INLINE V Fold(V a, V x) {
    return Times(a, x);
  }
  template <class V>
  static TK_INLINE V Join(V a, V b) {
    return Times(a, b);
  }
  static constexpr double kStart = 1;
};
// NaN wins, as in numpy.
struct MaxOp {
  template <class V>
  static TK_INLINE V Fold(V a, V x) {
    return ((x > a) | (x != x)) ? x : a;
  }
  template <class V>
  static TK_INLINE V Join(V a, V b) {
    return Fold(a, b);
  }
  static constexpr double kStart = -__builtin_inf();
};
struct MinOp {
  template <class V>
  static TK_INLINE V Fold(V a, V x) {
    return ((x < a) | (x != x)) ? x : a;
  }
  template <class V>
  static TK_INLINE V Join(V a, V b) {
    return Fold(a, b);
  }
  static constexpr double kStart = __builtin_inf();
};

template <class T, class Op>
T RowBlock(const T* x, int64_t n) {
  using V = Vec<T>;
  constexpr int L = kLanes<T>;
  const V start = V{} + static_cast<T>(Op::kStart);
  V a = start, b = start, c = start, d = start;
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    a = Op::Fold(a, Load(x + i));
    b = Op::Fold(b, Load(x + i + L));
    c = Op::Fold(c, Load(x + i + 2 * L));
    d = Op::Fold(d, Load(x + i + 3 * L));
  }
  for (; i + L <= n; i += L) a = Op::Fold(a, Load(x + i));
  V lanes = Op::Join(Op::Join(a, b), Op::Join(c, d));
  for (int k = 0; i < n; ++i, ++k) lanes[k] = Op::Fold(static_cast<T>(lanes[k]), x[i]);
  for (int half = L / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k)
      lanes[k] = Op::Join(static_cast<T>(lanes[k]), static_cast<T>(lanes[k + half]));
  return lanes[0];
}

template <class T, class Op>
void FloatRow(Accumulator* acc, const void* x_, int64_t n) {
  constexpr int64_t kBlock = kReduceBlock * kVectorBytes / 64;  // As many terms a lane everywhere.
  const T* x = static_cast<const T*>(x_);
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = n - i < kBlock ? n - i : kBlock;
    acc->f = Op::Join(acc->f, static_cast<double>(RowBlock<T, Op>(x + i, m)));
  }
}

template <class T, class Op>
void FloatColumns(Accumulator* acc, const void* x_, int64_t rows, int64_t columns, int64_t stride) {
  constexpr int kTile = 256;
  for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
    const int m = static_cast<int>(columns - j0 < kTile ? columns - j0 : kTile);
    for (int64_t r0 = 0; r0 < rows; r0 += kReduceRowBlock) {
      const int64_t r1 = r0 + kReduceRowBlock < rows ? r0 + kReduceRowBlock : rows;
      T part[kTile];
      for (int j = 0; j < m; ++j) part[j] = static_cast<T>(Op::kStart);
      const T* x = static_cast<const T*>(x_) + r0 * stride + j0;
      int64_t r = r0;
      for (; r + 4 <= r1; r += 4, x += 4 * stride) {
        const T *p = x, *q = p + stride, *u = q + stride, *v = u + stride;
        for (int j = 0; j < m; ++j)
          part[j] = Op::Fold(Op::Fold(Op::Fold(Op::Fold(part[j], p[j]), q[j]), u[j]), v[j]);
      }
      for (; r < r1; ++r, x += stride)
        for (int j = 0; j < m; ++j) part[j] = Op::Fold(part[j], x[j]);
      for (int j = 0; j < m; ++j)
        acc[j0 + j].f = Op::Join(acc[j0 + j].f, static_cast<double>(part[j]));
    }
  }
}

template <class T, class Op>
void IntRow(Accumulator* acc, const void* x_, int64_t n) {
  using W = typename Wide<T>::type;
  const T* x = static_cast<const T*>(x_);
  W a = Get(*acc, W());
  for (int64_t i = 0; i < n; ++i) a = Op::Fold(a, static_cast<W>(x[i]));
  Get(*acc, W()) = a;
}

template <class T, class Op>
void IntColumns(Accumulator* acc, const void* x_, int64_t rows, int64_t columns, int64_t stride) {
  using W = typename Wide<T>::type;
  const T* x = static_cast<const T*>(x_);
  for (int64_t r = 0; r < rows; ++r, x += stride)
    for (int64_t j = 0; j < columns; ++j)
      Get(acc[j], W()) = Op::Fold(Get(acc[j], W()), static_cast<W>(x[j]));
}

#define TK_WIDE(Kind, Op)                                                                       \
  nullptr, nullptr, Kind<int32_t, Op>, Kind<int64_t, Op>, nullptr, nullptr, Kind<uint32_t, Op>, \
      Kind<uint64_t, Op>
#define TK_ALL(Kind, Op)                                                                        \
  Kind<int8_t, Op>, Kind<int16_t, Op>, Kind<int32_t, Op>, Kind<int64_t, Op>, Kind<uint8_t, Op>, \
      Kind<uint16_t, Op>, Kind<uint32_t, Op>, Kind<uint64_t, Op>
#define TK_REDUCE(Float, Int)                                                             \
  {                                                                                       \
      {Float<float, SumOp>, Float<double, SumOp>, TK_WIDE(Int, SumOp)},                   \
      {Float<float, SumSquareOp>, Float<double, SumSquareOp>, TK_WIDE(Int, SumSquareOp)}, \
      {Float<float, SumAbsOp>, Float<double, SumAbsOp>, TK_WIDE(Int, SumAbsOp)},          \
      {Float<float, MaxOp>, Float<double, MaxOp>, TK_ALL(Int, MaxOp)},                    \
      {Float<float, MinOp>, Float<double, MinOp>, TK_ALL(Int, MinOp)},                    \
      {Float<float, ProdOp>, Float<double, ProdOp>, TK_WIDE(Int, ProdOp)},                \
  }

}  // namespace

extern const ReduceTable reduce_table = {TK_REDUCE(FloatRow, IntRow),
                                         TK_REDUCE(FloatColumns, IntColumns)};

}  // namespace toolkit::TOOLKIT_ISA_NS
