// Recurrent cells: each function is one pass over its operands. Formulas of the ONNX operators.
#include "simd/recurrent.h"

#include "simd/math.h"
#include "simd/spans.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

using F64 = Vec<double>;

TK_INLINE F64 Each(double (*f)(double), F64 x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = f(x[i]);
  return x;
}
TK_INLINE F64 AbsOf(F64 x) { return x < 0 ? -x : x; }
TK_INLINE F64 TanhOf(F64 x) { return Each(tanh, x); }
TK_INLINE F64 SigmoidOf(F64 x) { return 1.0 / (1.0 + Each(exp, -x)); }
TK_INLINE F64 Expm1Of(F64 x) { return Each(expm1, x); }
TK_INLINE F64 SoftplusOf(F64 x) { return (x > 0 ? x : F64{}) + Each(log1p, Each(exp, -AbsOf(x))); }
TK_INLINE F32 AbsOf(F32 x) { return Abs(x); }
TK_INLINE F32 TanhOf(F32 x) { return Tanh(x); }
TK_INLINE F32 SigmoidOf(F32 x) { return Sigmoid(x); }
TK_INLINE F32 Expm1Of(F32 x) { return Expm1(x); }
TK_INLINE F32 SoftplusOf(F32 x) { return Softplus(x); }

// The value of a gate and its slope in the pre-activation; `Fixed` says the activation at compile
// time.
template <class T, int Fixed>
struct Gate {
  GateActivation<T> act;
  T clip;

  TK_INLINE Activation kind() const {
    return Fixed < 0 ? act.kind : static_cast<Activation>(Fixed);
  }
  TK_INLINE Vec<T> Clipped(Vec<T> a) const {
    if (Fixed >= 0) return a;
    return a > clip ? Set1(clip) : a < -clip ? Set1(-clip) : a;
  }

  TK_INLINE Vec<T> Value(Vec<T> a) const {
    const Vec<T> x = Clipped(a), zero = {};
    const T alpha = act.alpha, beta = act.beta;
    switch (kind()) {
      case Activation::kRelu:
        return x < 0 ? zero : x;
      case Activation::kTanh:
        return TanhOf(x);
      case Activation::kSigmoid:
        return SigmoidOf(x);
      case Activation::kAffine:
        return alpha * x + beta;
      case Activation::kLeakyRelu:
        return x < 0 ? alpha * x : x;
      case Activation::kThresholdedRelu:
        return x < alpha ? zero : x;
      case Activation::kScaledTanh:
        return alpha * TanhOf(beta * x);
      case Activation::kHardSigmoid: {
        const Vec<T> v = alpha * x + beta;
        return v < 0 ? zero : v > 1 ? Set1(T(1)) : v;
      }
      case Activation::kElu:
        return x < 0 ? alpha * Expm1Of(x) : x;
      case Activation::kSoftsign:
        return x / (T(1) + AbsOf(x));
      default:
        return SoftplusOf(x);
    }
  }

  // `y` is Value(a).
  TK_INLINE Vec<T> Slope(Vec<T> a, Vec<T> y) const {
    const Vec<T> slope = Inner(Clipped(a), y);
    if (Fixed >= 0) return slope;
    return AbsOf(a) > clip ? Vec<T>{} : slope;
  }

 private:
  TK_INLINE Vec<T> Inner(Vec<T> x, Vec<T> y) const {
    const Vec<T> zero = {}, one = Set1(T(1));
    const T alpha = act.alpha, beta = act.beta;
    switch (kind()) {
      case Activation::kRelu:
        return x > 0 ? one : zero;
      case Activation::kTanh:
        return one - y * y;
      case Activation::kSigmoid:
        return y * (one - y);
      case Activation::kAffine:
        return Set1(alpha);
      case Activation::kLeakyRelu:
        return x < 0 ? Set1(alpha) : one;
      case Activation::kThresholdedRelu:
        return x < alpha ? zero : one;
      case Activation::kScaledTanh: {
        const Vec<T> t = TanhOf(beta * x);
        return alpha * beta * (one - t * t);
      }
      case Activation::kHardSigmoid: {
        const Vec<T> v = alpha * x + beta;
        return v < 0 ? zero : v > 1 ? zero : Set1(alpha);
      }
      case Activation::kElu:
        return x < 0 ? y + alpha : one;
      case Activation::kSoftsign: {
        const Vec<T> d = one + AbsOf(x);
        return one / (d * d);
      }
      default:
        return SigmoidOf(x);
    }
  }
};

// The gates of a cell, by ONNX's letters.
template <class T, bool Standard>
struct Gates {
  static constexpr int kSigmoid = Standard ? static_cast<int>(Activation::kSigmoid) : -1;
  static constexpr int kTanh = Standard ? static_cast<int>(Activation::kTanh) : -1;
  TK_INLINE explicit Gates(const CellSpec<T>& s)
      : f{s.f, s.clip}, g{s.g, s.clip}, h{s.h, s.clip}, only{s.f, s.clip} {}
  Gate<T, kSigmoid> f;
  Gate<T, kTanh> g, h;
  Gate<T, kTanh> only;  // RNN's f.
};

template <class T>
TK_INLINE Vec<T> Get(const T* p, int64_t m) {
  return m == kLanes<T> ? Load(p) : LoadPart(p, m);
}
template <class T>
TK_INLINE void Put(T* p, Vec<T> v, int64_t m) {
  if (m == kLanes<T>)
    Store(p, v);
  else
    StorePart(p, v, m);
}
// Calls fn(i, m) for each vector of m elements at i.
template <class T, class Fn>
TK_INLINE void Vectors(int64_t n, Fn fn) {
  for (int64_t i = 0; i < n; i += kLanes<T>) fn(i, n - i < kLanes<T> ? n - i : kLanes<T>);
}

template <class T, bool Standard>
void Rnn(const CellSpec<T>& s, int64_t n, const T* a, T* h, T* y) {
  const Gates<T, Standard> gate(s);
  Vectors<T>(n, [&](int64_t i, int64_t m) TK_LAMBDA_INLINE {
    const Vec<T> v = gate.only.Value(Get(a + i, m));
    Put(h + i, v, m);
    if (y) Put(y + i, v, m);
  });
}

template <class T, bool Standard>
void RnnGrad(const CellSpec<T>& s, int64_t n, T* a, const T* dh) {
  const Gates<T, Standard> gate(s);
  Vectors<T>(n, [&](int64_t i, int64_t m) TK_LAMBDA_INLINE {
    const Vec<T> x = Get(a + i, m);
    Put(a + i, Get(dh + i, m) * gate.only.Slope(x, gate.only.Value(x)), m);
  });
}

template <class T, bool Standard>
void Lstm(const CellSpec<T>& s, int64_t n, const T* a, int64_t stride, const T* peephole,
          const T* c_prev, T* c, T* h, T* y) {
  const Gates<T, Standard> gate(s);
  const T* p = peephole;
  Vectors<T>(n, [&](int64_t k, int64_t m) TK_LAMBDA_INLINE {
    Vec<T> ai = Get(a + k, m), ao = Get(a + stride + k, m), af = Get(a + 2 * stride + k, m);
    const Vec<T> ag = Get(a + 3 * stride + k, m), old = Get(c_prev + k, m);
    if (p) {
      ai += Get(p + k, m) * old;
      af += Get(p + 2 * stride + k, m) * old;
    }
    const Vec<T> i = gate.f.Value(ai);
    const Vec<T> f = s.input_forget ? T(1) - i : gate.f.Value(af);
    const Vec<T> cell = f * old + i * gate.g.Value(ag);
    if (p) ao += Get(p + stride + k, m) * cell;
    const Vec<T> out = gate.f.Value(ao) * gate.h.Value(cell);
    Put(c + k, cell, m);
    Put(h + k, out, m);
    if (y) Put(y + k, out, m);
  });
}

template <class T, bool Standard>
void LstmGrad(const CellSpec<T>& s, int64_t n, T* a, int64_t stride, const T* peephole,
              const T* c_prev, const T* c, const T* dh, T* dc) {
  const Gates<T, Standard> gate(s);
  const T* p = peephole;
  Vectors<T>(n, [&](int64_t k, int64_t m) TK_LAMBDA_INLINE {
    T *pi = a + k, *po = pi + stride, *pf = po + stride, *pg = pf + stride;
    Vec<T> ai = Get(pi, m), ao = Get(po, m), af = Get(pf, m);
    const Vec<T> ag = Get(pg, m), old = Get(c_prev + k, m), cell = Get(c + k, m);
    if (p) {
      ai += Get(p + k, m) * old;
      ao += Get(p + stride + k, m) * cell;
      af += Get(p + 2 * stride + k, m) * old;
    }
    const Vec<T> i = gate.f.Value(ai), o = gate.f.Value(ao), g = gate.g.Value(ag);
    const Vec<T> f = s.input_forget ? T(1) - i : gate.f.Value(af);
    const Vec<T> hc = gate.h.Value(cell), d = Get(dh + k, m);
    const Vec<T> dao = d * hc * gate.f.Slope(ao, o);
    Vec<T> dcell = Get(dc + k, m) + d * o * gate.h.Slope(cell, hc);
    if (p) dcell += dao * Get(p + stride + k, m);
    Vec<T> di = dcell * g, daf = {};
    if (s.input_forget)
      di -= dcell * old;
    else
      daf = dcell * old * gate.f.Slope(af, f);
    const Vec<T> dai = di * gate.f.Slope(ai, i);
    Vec<T> dold = dcell * f;
    if (p) dold += dai * Get(p + k, m) + daf * Get(p + 2 * stride + k, m);
    Put(pi, dai, m);
    Put(po, dao, m);
    Put(pf, daf, m);
    Put(pg, dcell * i * gate.g.Slope(ag, g), m);
    Put(dc + k, dold, m);
  });
}

template <class T, bool Standard>
void GruReset(const CellSpec<T>& s, int64_t n, const T* a_r, const T* h_prev, T* rh) {
  const Gates<T, Standard> gate(s);
  Vectors<T>(n, [&](int64_t i, int64_t m) TK_LAMBDA_INLINE {
    Put(rh + i, gate.f.Value(Get(a_r + i, m)) * Get(h_prev + i, m), m);
  });
}

template <class T, bool Standard>
void Gru(const CellSpec<T>& s, int64_t n, const T* a, int64_t stride, const T* u, const T* h_prev,
         T* h, T* y) {
  const Gates<T, Standard> gate(s);
  Vectors<T>(n, [&](int64_t i, int64_t m) TK_LAMBDA_INLINE {
    const Vec<T> z = gate.f.Value(Get(a + i, m));
    Vec<T> ah = Get(a + 2 * stride + i, m);
    if (u) ah += gate.f.Value(Get(a + stride + i, m)) * Get(u + i, m);
    const Vec<T> v = (T(1) - z) * gate.g.Value(ah) + z * Get(h_prev + i, m);
    Put(h + i, v, m);
    if (y) Put(y + i, v, m);
  });
}

template <class T, bool Standard>
void GruGrad(const CellSpec<T>& s, int64_t n, T* a, int64_t stride, T* u, const T* h_prev, T* dh) {
  const Gates<T, Standard> gate(s);
  Vectors<T>(n, [&](int64_t i, int64_t m) TK_LAMBDA_INLINE {
    T *pz = a + i, *pr = pz + stride, *ph = pr + stride;
    const Vec<T> az = Get(pz, m), z = gate.f.Value(az), d = Get(dh + i, m);
    Vec<T> ah = Get(ph, m), ar = {}, r = {}, linear = {};
    if (u) {
      ar = Get(pr, m), r = gate.f.Value(ar), linear = Get(u + i, m);
      ah += r * linear;
    }
    const Vec<T> v = gate.g.Value(ah);
    const Vec<T> dah = d * (T(1) - z) * gate.g.Slope(ah, v);
    Put(pz, d * (Get(h_prev + i, m) - v) * gate.f.Slope(az, z), m);
    Put(ph, dah, m);
    if (u) {
      Put(pr, dah * linear * gate.f.Slope(ar, r), m);
      Put(u + i, dah * r, m);
    }
    Put(dh + i, d * z, m);
  });
}

template <class T, bool Standard>
void GruGradReset(const CellSpec<T>& s, int64_t n, T* a_r, const T* h_prev, const T* drh, T* dh) {
  const Gates<T, Standard> gate(s);
  Vectors<T>(n, [&](int64_t i, int64_t m) TK_LAMBDA_INLINE {
    const Vec<T> ar = Get(a_r + i, m), r = gate.f.Value(ar), d = Get(drh + i, m);
    Put(a_r + i, d * Get(h_prev + i, m) * gate.f.Slope(ar, r), m);
    Put(dh + i, Get(dh + i, m) + d * r, m);
  });
}

// A function that takes the fast build of another where its cell is the standard one.
template <auto Standard, auto General>
struct Either;
template <class S, class... Args, void (*Standard)(const S&, Args...),
          void (*General)(const S&, Args...)>
struct Either<Standard, General> {
  static void Run(const S& s, Args... args) { (s.standard ? Standard : General)(s, args...); }
};

template <class T>
constexpr RecurrentFunctions<T> Functions() {
  return {Either<Rnn<T, true>, Rnn<T, false>>::Run,
          Either<RnnGrad<T, true>, RnnGrad<T, false>>::Run,
          Either<Lstm<T, true>, Lstm<T, false>>::Run,
          Either<LstmGrad<T, true>, LstmGrad<T, false>>::Run,
          Either<GruReset<T, true>, GruReset<T, false>>::Run,
          Either<Gru<T, true>, Gru<T, false>>::Run,
          Either<GruGrad<T, true>, GruGrad<T, false>>::Run,
          Either<GruGradReset<T, true>, GruGradReset<T, false>>::Run};
}

}  // namespace

extern const RecurrentTable recurrent_table = {Functions<float>(), Functions<double>()};

}  // namespace toolkit::TOOLKIT_ISA_NS
