// The gradient of LinearAttention. States are kept at the beginnings of chunks of steps; a chunk's
// own are computed again when the walk back reaches it. A task is one head of one batch.
#include <cmath>

#include "kernels/linear_attention.h"

namespace toolkit {
namespace {

template <class T>
struct Call {
  const T *q, *k, *v, *past, *factors, *beta, *dout, *dpresent;
  T *dq, *dk, *dv, *dpast, *ddecay;
  T* dbeta;  // (B, T, Hkv).
};

// A worker's memory: states (D, M) and rows.
template <class T>
struct Space {
  explicit Space(const LinearAttentionShape& s)
      : state(s.keys * s.values),
        chunk(std::max<int64_t>(1, static_cast<int64_t>(std::sqrt(static_cast<double>(s.steps))))),
        chunks((s.steps + chunk - 1) / chunk),
        size((chunks + chunk + 2) * state + 2 * chunk * s.values + s.values) {}
  int64_t state, chunk, chunks, size;
};

template <class T>
class HeadRunner {
 public:
  HeadRunner(const LinearAttentionShape& s, const Call<T>& call, const Space<T>& space, int64_t b,
             int64_t h, T* memory)
      : s_(s), call_(call), space_(space), b_(b), h_(h), fn_(StateOf<T>()), starts_(memory) {
    states_ = starts_ + space.chunks * space.state;
    current_ = states_ + space.chunk * space.state;
    ds_ = current_ + space.state;
    written_ = ds_ + space.state;
    missed_ = written_ + space.chunk * s.values;
    du_ = missed_ + space.chunk * s.values;
  }

  void Run() {
    const int64_t own = (b_ * s_.kv_heads + h_) * space_.state;
    const auto start = [&](T* state, const T* from) {
      if (from)
        std::copy_n(from + own, space_.state, state);
      else
        std::fill_n(state, space_.state, T(0));
    };
    start(current_, call_.past);
    for (int64_t c = 0; c < space_.chunks; ++c) {
      std::copy_n(current_, space_.state, starts_ + c * space_.state);
      Forward(c, false);
    }
    start(ds_, call_.dpresent);
    for (int64_t c = space_.chunks - 1; c >= 0; --c) {
      std::copy_n(starts_ + c * space_.state, space_.state, current_);
      Forward(c, true);
      for (int64_t i = StepsOf(c) - 1; i >= 0; --i) Back(c, i);
    }
    if (call_.dpast) std::copy_n(ds_, space_.state, call_.dpast + own);
  }

 private:
  int64_t StepsOf(int64_t c) const { return std::min(space_.chunk, s_.steps - c * space_.chunk); }
  int64_t At(int64_t t) const { return (b_ * s_.steps + t) * s_.kv_heads + h_; }
  T Decay(int64_t t, int64_t d) const {
    if (!call_.factors) return T(1);
    return s_.decay_by_key ? call_.factors[At(t) * s_.keys + d] : call_.factors[At(t)];
  }
  T Beta(int64_t t) const { return call_.beta[s_.beta_by_head ? At(t) : b_ * s_.steps + t]; }

  // The steps of chunk c on current_; with `keep`, what the walk back needs of them.
  void Forward(int64_t c, bool keep) {
    const int64_t m = s_.values;
    for (int64_t i = 0; i < StepsOf(c); ++i) {
      const int64_t t = c * space_.chunk + i;
      const T *k = call_.k + At(t) * s_.keys, *v = call_.v + At(t) * m;
      T *u = written_ + i * m, *missed = missed_ + i * m;
      std::copy_n(v, m, u);
      for (int64_t d = 0; d < s_.keys; ++d) {
        T* row = current_ + d * m;
        const T factor = Decay(t, d);
        for (int64_t j = 0; call_.factors && j < m; ++j) row[j] *= factor;
        if (call_.beta) fn_.axpy(u, row, m, -k[d]);
      }
      if (call_.beta) {
        std::copy_n(u, m, missed);
        for (int64_t j = 0; j < m; ++j) u[j] *= Beta(t);
      }
      for (int64_t d = 0; d < s_.keys; ++d) fn_.axpy(current_ + d * m, u, m, k[d]);
      if (keep) std::copy_n(current_, space_.state, states_ + i * space_.state);
    }
  }

  void Back(int64_t c, int64_t i) {
    const int64_t t = c * space_.chunk + i, m = s_.values, at = At(t);
    const T* state = states_ + i * space_.state;
    const T* before = i ? state - space_.state : starts_ + c * space_.state;
    const T *k = call_.k + at * s_.keys, *u = written_ + i * m;
    T *dk = call_.dk + at * s_.keys, *dv = call_.dv + at * m;
    for (int64_t g = 0; g < s_.group(); ++g) Read(t, h_ * s_.group() + g, state);
    std::fill_n(du_, m, T(0));
    for (int64_t d = 0; d < s_.keys; ++d) {
      fn_.axpy(du_, ds_ + d * m, m, k[d]);
      dk[d] = fn_.dot(ds_ + d * m, u, m);
    }
    std::copy_n(du_, m, dv);
    if (call_.beta) {
      call_.dbeta[at] = fn_.dot(du_, missed_ + i * m, m);
      for (int64_t j = 0; j < m; ++j) dv[j] *= Beta(t);
    }
    T sum = 0;
    for (int64_t d = 0; d < s_.keys; ++d) {
      T* row = ds_ + d * m;
      const T factor = Decay(t, d);
      if (call_.beta) {  // The recalled value: S^T k, S decayed.
        fn_.axpy(row, dv, m, -k[d]);
        dk[d] -= factor * fn_.dot(before + d * m, dv, m);
      }
      if (!call_.factors) continue;
      const T change = factor * fn_.dot(row, before + d * m, m);
      sum += change;
      if (s_.decay_by_key) call_.ddecay[at * s_.keys + d] = change;
      for (int64_t j = 0; j < m; ++j) row[j] *= factor;
    }
    if (call_.factors && !s_.decay_by_key) call_.ddecay[at] = sum;
  }

  // What query head `head` read at step t.
  void Read(int64_t t, int64_t head, const T* state) {
    const int64_t query = (b_ * s_.steps + t) * s_.q_heads + head, m = s_.values;
    const T scale = static_cast<T>(s_.scale);
    const T* q = call_.q + query * s_.keys;
    T* dq = call_.dq + query * s_.keys;
    if (!call_.dout) return std::fill_n(dq, s_.keys, T(0)), void();
    const T* dout = call_.dout + query * m;
    for (int64_t d = 0; d < s_.keys; ++d) {
      dq[d] = scale * fn_.dot(state + d * m, dout, m);
      fn_.axpy(ds_ + d * m, dout, m, scale * q[d]);
    }
  }

  const LinearAttentionShape& s_;
  const Call<T>& call_;
  const Space<T>& space_;
  int64_t b_, h_;
  const StateFunctions<T>& fn_;
  T *starts_, *states_, *current_, *ds_, *written_, *missed_, *du_;
};

// Inputs: those of LinearAttention, then the cotangents of its outputs, each optional. Outputs:
// dquery, dkey, dvalue, then those of past_state, decay and beta as far as they are given.
class LinearAttentionGrad : public Kernel {
 public:
  explicit LinearAttentionGrad(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const LinearAttentionShape s(attributes_, c);
    const auto data = [&](int i) {
      return c.has_input(i) ? c.input(i).data<T>() : static_cast<T*>(nullptr);
    };
    for (int i : {6, 7}) {
      const Tensor* d = c.optional_input(i);
      const Shape need = i == 6 ? s.Output() : s.State();
      TK_REQUIRE(!d || (d->dtype() == DTypeOf<T>::kValue && d->shape() == need), ErrorKind::kShape,
                 "the cotangents must have the shapes of the outputs, ", need.ToString(), ", got ",
                 d->shape().ToString());
    }
    Call<T> call = {data(0), data(1), data(2), data(3), data(4), data(5), data(6), data(7)};
    if (call.factors) {
      T* factors = c.Scratch<T>(c.input(4).size());
      ExpOf(call.factors, factors, c.input(4).size());
      call.factors = factors;
    }
    int next = 0;
    const auto output = [&](int i) {
      if (!c.has_input(i)) return static_cast<T*>(nullptr);
      const Shape& shape = c.input(i).shape();
      const int k = next++;
      if (c.has_output(k)) return c.Output(k, DTypeOf<T>::kValue, shape).template data<T>();
      return c.Scratch<T>(shape.Count());
    };
    call.dq = output(0), call.dk = output(1), call.dv = output(2), call.dpast = output(3);
    call.ddecay = output(4);
    T* dbeta = output(5);
    call.dbeta = dbeta && !s.beta_by_head ? c.Scratch<T>(s.batch * s.steps * s.kv_heads) : dbeta;
    const Space<T> space(s);
    const int64_t heads = s.batch * s.kv_heads;
    T* memory = c.Scratch<T>(heads * space.size);
    c.pool().ParallelFor(heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        HeadRunner<T>(s, call, space, i / s.kv_heads, i % s.kv_heads, memory + i * space.size)
            .Run();
    });
    if (!dbeta || s.beta_by_head) return;
    for (int64_t i = 0; i < s.batch * s.steps; ++i) {
      dbeta[i] = 0;
      for (int64_t h = 0; h < s.kv_heads; ++h) dbeta[i] += call.dbeta[i * s.kv_heads + h];
    }
  }

  LinearAttentionAttributes attributes_;
};

static const bool kLinearAttentionGrad = Register<LinearAttentionGrad>("LinearAttentionGrad")
                                             .Domain("toolkit.grad")
                                             .Types(kFloats)
                                             .Widen();

}  // namespace
}  // namespace toolkit
