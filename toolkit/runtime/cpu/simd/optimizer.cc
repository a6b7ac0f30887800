// Optimizer updates: one pass over parameter, gradient and moments. Formulas of torch.optim.
#include "simd/optimizer.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

TK_INLINE float Sqrt(float x) { return __builtin_sqrtf(x); }
TK_INLINE double Sqrt(double x) { return __builtin_sqrt(x); }

// d = g + weight_decay p; buf' = momentum buf + (1 - dampening) d (first: d);
// p' = p - lr (nesterov ? d + momentum buf' : buf').
template <class T>
void Sgd(T* new_p, T* new_buf, const T* p, const T* g, const T* buf, int64_t n, const SgdStep& s) {
  const T lr = static_cast<T>(s.lr), momentum = static_cast<T>(s.momentum);
  const T keep = s.first ? T(1) : static_cast<T>(1 - s.dampening);
  const T decay = static_cast<T>(s.weight_decay);
  if (!new_buf) {
    TK_IVDEP
    for (int64_t i = 0; i < n; ++i) new_p[i] = p[i] - lr * (g[i] + decay * p[i]);
    return;
  }
  const T carry = s.first ? T(0) : momentum, ahead = s.nesterov ? momentum : T(0);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T x = p[i], d = g[i] + decay * x;
    const T b = (s.first ? T(0) : carry * buf[i]) + keep * d;
    new_buf[i] = b;
    new_p[i] = x - lr * (s.nesterov ? d + ahead * b : b);
  }
}

template <class T, bool kMax>
void AdamSpan(T* new_p, T* new_m, T* new_v, T* new_vmax, const T* p, const T* g, const T* m,
              const T* v, const T* vmax, int64_t n, const AdamStep& s) {
  const T beta2 = static_cast<T>(s.beta2), eps = static_cast<T>(s.epsilon);
  const T take1 = static_cast<T>(1 - s.beta1), take2 = static_cast<T>(1 - s.beta2);
  const T l2 = static_cast<T>(s.weight_decay), decay = static_cast<T>(s.decay);
  const T step = static_cast<T>(s.step_size), scale = static_cast<T>(1 / s.sqrt_correction);
  TK_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const T d = g[i] + l2 * p[i];
    const T a = m[i] + take1 * (d - m[i]);
    const T b = beta2 * v[i] + take2 * d * d;
    T top = b;
    if (kMax) {
      top = vmax[i] > b ? vmax[i] : b;
      new_vmax[i] = top;
    }
    const T x = p[i] * decay;
    new_m[i] = a;
    new_v[i] = b;
    new_p[i] = x - step * a / (Sqrt(top) * scale + eps);
  }
}
template <class T>
void Adam(T* new_p, T* new_m, T* new_v, T* new_vmax, const T* p, const T* g, const T* m, const T* v,
          const T* vmax, int64_t n, const AdamStep& s) {
  if (new_vmax)
    AdamSpan<T, true>(new_p, new_m, new_v, new_vmax, p, g, m, v, vmax, n, s);
  else
    AdamSpan<T, false>(new_p, new_m, new_v, new_vmax, p, g, m, v, vmax, n, s);
}

}  // namespace

extern const OptimizerTable optimizer_table = {{Sgd<float>, Adam<float>},
                                               {Sgd<double>, Adam<double>}};

}  // namespace toolkit::TOOLKIT_ISA_NS
