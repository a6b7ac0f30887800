// LinearAttention as the recurrence that it is: per step the state decays, the value is corrected
// by what the state recalls of the key, the pair is written, and the queries read.
//
// The columns of a state do not meet: a task is one head's block of columns, which stays in L1.
#include "kernels/linear_attention.h"

namespace toolkit {

LinearAttentionAttributes::LinearAttentionAttributes(const Attributes& a)
    : q_heads(a.Int("q_num_heads", 0)),
      kv_heads(a.Int("kv_num_heads", 0)),
      scale(a.Float("scale", 0)) {
  TK_REQUIRE(kv_heads > 0 && q_heads > 0 && q_heads % kv_heads == 0, ErrorKind::kInvalidArgument,
             "q_num_heads must be a positive multiple of kv_num_heads, got ", q_heads, " and ",
             kv_heads);
  const std::string rule = a.String("update_rule", "gated_delta");
  TK_REQUIRE(rule == "linear" || rule == "gated" || rule == "delta" || rule == "gated_delta",
             ErrorKind::kInvalidArgument,
             "update_rule must be linear, gated, delta or gated_delta, got ", rule);
  gated = rule == "gated" || rule == "gated_delta";
  delta = rule == "delta" || rule == "gated_delta";
}

LinearAttentionShape::LinearAttentionShape(const LinearAttentionAttributes& a,
                                           const KernelContext& c)
    : q_heads(a.q_heads), kv_heads(a.kv_heads) {
  const Shape &q = c.input(0).shape(), &k = c.input(1).shape(), &v = c.input(2).shape();
  TK_REQUIRE(q.rank() == 3 && k.rank() == 3 && v.rank() == 3 && q[2] % q_heads == 0 &&
                 v[2] % kv_heads == 0,
             ErrorKind::kShape,
             "query, key and value must be (B, T, H D) with their numbers of heads, got ",
             q.ToString(), ", ", k.ToString(), " and ", v.ToString());
  batch = q[0], steps = q[1], keys = q[2] / q_heads, values = v[2] / kv_heads;
  TK_REQUIRE(k == Shape({batch, steps, kv_heads * keys}) && v[0] == batch && v[1] == steps,
             ErrorKind::kShape,
             "query, key and value must agree in batch, steps and head size, got ", q.ToString(),
             ", ", k.ToString(), " and ", v.ToString());
  const Tensor *past = c.optional_input(3), *decay = c.optional_input(4),
               *beta = c.optional_input(5);
  TK_REQUIRE(!past || past->shape() == State(), ErrorKind::kShape, "past_state must be ",
             State().ToString(), ", got ", past->shape().ToString());
  TK_REQUIRE(!decay == !a.gated && !beta == !a.delta, ErrorKind::kInvalidArgument,
             "decay must be given for the gated rules and beta for the delta rules alone");
  const Shape by_head = {batch, steps, kv_heads}, by_key = {batch, steps, kv_heads * keys};
  TK_REQUIRE(!decay || decay->shape() == by_head || decay->shape() == by_key, ErrorKind::kShape,
             "decay must be ", by_head.ToString(), " or ", by_key.ToString(), ", got ",
             decay->shape().ToString());
  TK_REQUIRE(!beta || beta->shape() == by_head || beta->shape() == Shape({batch, steps, 1}),
             ErrorKind::kShape, "beta must be ", by_head.ToString(), " or (B, T, 1), got ",
             beta->shape().ToString());
  decay_by_key = decay && decay->shape() != by_head;
  beta_by_head = beta && beta->shape() == by_head;
  for (const Tensor* t : {&c.input(1), &c.input(2), past, decay, beta})
    TK_REQUIRE(!t || t->dtype() == c.input(0).dtype(), ErrorKind::kDType,
               "all inputs must have the dtype of query, ", Name(c.input(0).dtype()), ", got ",
               Name(t->dtype()));
  scale = a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(std::max<int64_t>(keys, 1)));
}

namespace {

class LinearAttention : public Kernel {
 public:
  explicit LinearAttention(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  struct Call {
    const T *q, *k, *v, *past, *decay, *beta;
    T *o, *present;
  };

  template <class T>
  void RunAs(KernelContext& c) const {
    const LinearAttentionShape s(attributes_, c);
    const DType dtype = c.input(0).dtype();
    const auto data = [&](int i) {
      return c.has_input(i) ? c.input(i).data<T>() : static_cast<T*>(nullptr);
    };
    Call<T> call = {data(0), data(1), data(2), data(3), data(4), data(5), nullptr, nullptr};
    if (c.has_output(0)) call.o = c.Output(0, dtype, s.Output()).template data<T>();
    if (c.has_output(1)) call.present = c.Output(1, dtype, s.State()).template data<T>();
    if (call.decay) {  // Once for all blocks of columns.
      const int64_t n = c.input(4).size();
      T* factors = c.Scratch<T>(n);
      c.pool().ParallelFor(n, 4096, [&](int64_t begin, int64_t end) {
        ExpOf(call.decay + begin, factors + begin, end - begin);
      });
      call.decay = factors;
    }
    const int64_t blocks = (s.values + kStateColumns - 1) / kStateColumns;
    const int64_t tasks = s.batch * s.kv_heads * blocks;
    T* states = c.Scratch<T>(tasks * s.keys * kStateColumns);
    c.pool().ParallelFor(tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t head = i / blocks;
        Columns(s, call, head / s.kv_heads, head % s.kv_heads, i % blocks * kStateColumns,
                states + i * s.keys * kStateColumns);
      }
    });
  }

  // Columns [m0, m0 + kStateColumns) of head h's state over all steps.
  template <class T>
  void Columns(const LinearAttentionShape& s, const Call<T>& call, int64_t b, int64_t h, int64_t m0,
               T* state) const {
    const auto& fn = StateOf<T>();
    const int64_t width = std::min<int64_t>(kStateColumns, s.values - m0);
    const int64_t own = (b * s.kv_heads + h) * s.keys * s.values + m0;
    for (int64_t d = 0; d < s.keys; ++d) {
      T* row = state + d * kStateColumns;
      std::fill(row, row + kStateColumns, T(0));
      if (call.past) std::copy_n(call.past + own + d * s.values, width, row);
    }
    for (int64_t t = 0; t < s.steps; ++t) {
      const int64_t at = (b * s.steps + t) * s.kv_heads + h;
      const T* k = call.k + at * s.keys;
      const T* decay = !call.decay ? nullptr : call.decay + (s.decay_by_key ? at * s.keys : at);
      T value[kStateColumns] = {}, recalled[kStateColumns];
      std::copy_n(call.v + at * s.values + m0, width, value);
      if (decay || attributes_.delta)
        fn.recall(state, s.keys, decay, s.decay_by_key, attributes_.delta ? k : nullptr, recalled);
      if (attributes_.delta) {
        const T beta = call.beta[s.beta_by_head ? at : b * s.steps + t];
        for (int j = 0; j < kStateColumns; ++j) value[j] = beta * (value[j] - recalled[j]);
      }
      fn.write(state, s.keys, k, value);
      if (!call.o) continue;
      for (int64_t g = 0; g < s.group(); ++g) {
        const int64_t query = (b * s.steps + t) * s.q_heads + h * s.group() + g;
        T out[kStateColumns];
        fn.read(state, s.keys, call.q + query * s.keys, static_cast<T>(s.scale), out);
        std::copy_n(out, width, call.o + query * s.values + m0);
      }
    }
    for (int64_t d = 0; call.present && d < s.keys; ++d)
      std::copy_n(state + d * kStateColumns, width, call.present + own + d * s.values);
  }

  LinearAttentionAttributes attributes_;
};

static const bool kLinearAttention =
    Register<LinearAttention>("LinearAttention").Types(kFloats).Widen({0, 3});

}  // namespace
}  // namespace toolkit
