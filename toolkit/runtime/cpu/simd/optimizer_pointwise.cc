// One pass over parameter, gradient and states. Formulas of torch.optim; d = g + weight_decay p.
#include "simd/optimizer_pointwise.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

TK_INLINE float Sqrt(float x) { return __builtin_sqrtf(x); }
TK_INLINE double Sqrt(double x) { return __builtin_sqrt(x); }
TK_INLINE float Abs(float x) { return __builtin_fabsf(x); }
TK_INLINE double Abs(double x) { return __builtin_fabs(x); }
template <class T>
TK_INLINE T Sign(T x) {
  return static_cast<T>(x > T(0)) - static_cast<T>(x < T(0));
}
template <class T>
TK_INLINE T Larger(T a, T b) {  // NaN if one is.
  return a > b || a != a ? a : b;
}

// Hyperparameters in the type of the arithmetic.
template <class T>
struct Numbers {
  explicit Numbers(const PointwiseStep& s)
      : beta1(static_cast<T>(s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        take1(static_cast<T>(1 - s.beta1)),
        take2(static_cast<T>(1 - s.beta2)),
        epsilon(static_cast<T>(s.epsilon)),
        l2(static_cast<T>(s.weight_decay)),
        decay(static_cast<T>(s.decay)),
        step(static_cast<T>(s.step_size)),
        grad(static_cast<T>(s.grad_size)),
        scale(static_cast<T>(s.scale)),
        low(static_cast<T>(s.low)),
        high(static_cast<T>(s.high)) {}
  T beta1, beta2, take1, take2, epsilon, l2, decay, step, grad, scale, low, high;
};

// m += (1 - beta1) (d - m); u' = second(d, u); p' = p decay - move(d, m, u').
template <class T, class Second, class Move>
TK_INLINE void Moments(T* const* y, const T* const* x, int64_t n, const Numbers<T>& k,
                       Second second, Move move) {
  const T *p = x[0], *g = x[1], *m = x[2], *u = x[3];
  T *new_p = y[0], *new_m = y[1], *new_u = y[2];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i] + k.l2 * p[i];
    const T a = m[i] + k.take1 * (d - m[i]), b = second(d, u[i]);
    new_p[i] = p[i] * k.decay - move(d, a, b);
    new_m[i] = a;
    new_u[i] = b;
  }
}

// beta2 v + (1 - beta2) d^2.
template <class T>
TK_INLINE auto Squares(const Numbers<T>& k) {
  return [beta2 = k.beta2, take2 = k.take2](T d, T v) { return beta2 * v + take2 * d * d; };
}

// r = sqrt(v) scale + epsilon; p' = p decay - grad_size d / r - step_size m / r (Dozat, 2016).
template <class T>
void NAdam(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  Moments<T>(y, x, n, k, Squares(k), [k](T d, T a, T b) {
    return (k.grad * d + k.step * a) / (Sqrt(b) * k.scale + k.epsilon);
  });
}

// As Adam, without the division by the root while the variance of it is not tractable (plain).
template <class T>
void RAdam(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const bool plain = s.plain;
  Moments<T>(y, x, n, k, Squares(k),
             [k, plain](T, T a, T b) { return k.step * a / (plain ? T(1) : Sqrt(b) + k.epsilon); });
}

// u = max(beta2 u, |d| + epsilon); p' = p - step_size m / u.
template <class T>
void Adamax(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  Moments<T>(
      y, x, n, k, [k](T d, T u) { return Larger(k.beta2 * u, Abs(d) + k.epsilon); },
      [k](T, T a, T b) { return k.step * a / b; });
}

// h += d^2; p' = p - step_size d / (sqrt(h) + epsilon).
template <class T>
void Adagrad(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const T *p = x[0], *g = x[1], *h = x[2];
  T *new_p = y[0], *new_h = y[1];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i] + k.l2 * p[i];
    const T b = h[i] + d * d;
    new_p[i] = p[i] - k.step * d / (Sqrt(b) + k.epsilon);
    new_h[i] = b;
  }
}

// v = beta2 v + (1 - beta2) d^2; e = d sqrt(u + epsilon) / sqrt(v + epsilon);
// u = beta2 u + (1 - beta2) e^2; p' = p - step_size e.
template <class T>
void Adadelta(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const T *p = x[0], *g = x[1], *v = x[2], *u = x[3];
  T *new_p = y[0], *new_v = y[1], *new_u = y[2];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i] + k.l2 * p[i];
    const T b = k.beta2 * v[i] + k.take2 * d * d;
    const T e = Sqrt(u[i] + k.epsilon) / Sqrt(b + k.epsilon) * d;
    new_p[i] = p[i] - k.step * e;
    new_v[i] = b;
    new_u[i] = k.beta2 * u[i] + k.take2 * e * e;
  }
}

// v = beta2 v + (1 - beta2) d^2; centered: a += (1 - beta2) (d - a) and v - a^2 in v's place;
// e = d / (sqrt(v) + epsilon), with momentum buf = beta1 buf + e in e's place; p' = p - step_size
// e.
template <class T, bool kMomentum, bool kCentered>
void RmsProp(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const T *p = x[0], *g = x[1], *v = x[2], *buf = x[3], *mean = x[kMomentum ? 4 : 3];
  T *new_p = y[0], *new_v = y[1], *new_buf = y[2], *new_mean = y[kMomentum ? 3 : 2];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i] + k.l2 * p[i];
    const T b = k.beta2 * v[i] + k.take2 * d * d;
    T spread = b;
    if (kCentered) {
      const T a = mean[i] + k.take2 * (d - mean[i]);
      new_mean[i] = a;
      spread = b - a * a;
    }
    T e = d / (Sqrt(spread) + k.epsilon);
    if (kMomentum) new_buf[i] = e = k.beta1 * buf[i] + e;
    new_p[i] = p[i] - k.step * e;
    new_v[i] = b;
  }
}

// The step size times beta2 where the sign stays, times beta1 where it turns, within [low, high];
// p' = p - sign(g) size, but where the sign turned g is taken as 0. States: g, size.
template <class T>
void RProp(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const T *p = x[0], *g = x[1], *before = x[2], *size = x[3];
  T *new_p = y[0], *new_g = y[1], *new_size = y[2];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T turn = g[i] * before[i];
    const T factor = turn > T(0) ? k.beta2 : turn < T(0) ? k.beta1 : T(1);
    T b = size[i] * factor;
    b = b < k.low ? k.low : b;
    b = b > k.high ? k.high : b;
    const T d = turn < T(0) ? T(0) : g[i];
    new_p[i] = p[i] - Sign(d) * b;
    new_g[i] = d;
    new_size[i] = b;
  }
}

// p' = p decay - step_size d; a += scale (p' - a), or a = p' (plain).
template <class T>
void Asgd(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const T *p = x[0], *g = x[1], *mean = x[2];
  T *new_p = y[0], *new_mean = y[1];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i] + k.l2 * p[i];
    const T b = p[i] * k.decay - k.step * d;
    new_p[i] = b;
    new_mean[i] = s.plain ? b : mean[i] + (b - mean[i]) * k.scale;
  }
}

// p' = p decay - step_size sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g
// (Chen et al., 2023).
template <class T>
void Lion(T* const* y, const T* const* x, int64_t n, const PointwiseStep& s) {
  const Numbers<T> k(s);
  const T *p = x[0], *g = x[1], *m = x[2];
  T *new_p = y[0], *new_m = y[1];
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i], a = m[i];
    new_p[i] = p[i] * k.decay - k.step * Sign(k.beta1 * a + k.take1 * d);
    new_m[i] = k.beta2 * a + k.take2 * d;
  }
}

template <class T>
constexpr PointwiseFunctions<T> kFunctions = {NAdam<T>,
                                              RAdam<T>,
                                              Adamax<T>,
                                              Adagrad<T>,
                                              Adadelta<T>,
                                              RProp<T>,
                                              Asgd<T>,
                                              Lion<T>,
                                              {RmsProp<T, false, false>, RmsProp<T, true, false>,
                                               RmsProp<T, false, true>, RmsProp<T, true, true>}};

}  // namespace

extern const PointwiseTable pointwise_table = {kFunctions<float>, kFunctions<double>};

}  // namespace toolkit::TOOLKIT_ISA_NS
