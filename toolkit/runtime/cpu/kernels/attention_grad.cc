// The gradient of Attention, recomputed by blocks (Dao et al. 2022, arxiv.org/abs/2205.14135).
//
// A task is one head of keys in one batch, or a fixed part of its query rows where there are few
// heads. It packs K and V once and goes over blocks of rows: scores of the block against all keys
// it attends and their softmax P, then by blocks of keys
//   dP = dY V^T, dS = P (dP - sum(dY Y)), dV += P^T dY, dK += dS^T Q, dQ += dS K.
// Parts of dK and dV are added in ascending order.
#include <cmath>
#include <cstring>

#include "kernels/attention.h"

namespace toolkit {
namespace {

constexpr int64_t kWantedTasks = 16;

template <class T>
struct Call {
  const AttentionShape& shape;
  const AttentionAttributes& attributes;
  AttentionMask<T> mask;
  const T *q, *k, *v, *y, *dy;
  HeadStrides k_strides, v_strides;
  T* dq;
  T* dbias;  // (B, Hq, L, S), null: not wanted.
};

// A worker's memory.
template <class T>
struct Space {
  explicit Space(const AttentionShape& s) {
    const int64_t rows = RowBlock<T>();
    // A row of scores is no multiple of a page: P^T is read down its columns.
    stride = RoundUp(s.keys, kKeyBlock) + 16;
    int64_t at = 0;
    const auto take = [&at](int64_t count) {
      const int64_t begin = at;
      at += RoundUp(count, 16);
      return begin;
    };
    q = take(rows * s.head);
    dy = take(rows * s.v_head);
    q_panels = take(PanelSize<T>(rows, s.head));
    dy_panels = take(PanelSize<T>(rows, s.v_head));
    dq = take(rows * s.head);
    scores = take(rows * stride);
    capped = take(rows * stride);
    ds = take(rows * kKeyBlock);
    k_transposed = take(PanelSize<T>(s.head, RoundUp(s.keys, kKeyBlock)));
    v_transposed = take(PanelSize<T>(s.v_head, RoundUp(s.keys, kKeyBlock)));
    k_panels = take(PanelSize<T>(RoundUp(s.keys, kKeyBlock), s.head));
    size = at;
  }
  int64_t stride, q, dy, q_panels, dy_panels, dq, scores, capped, ds, k_transposed, v_transposed,
      k_panels, size;
};

template <class T>
class HeadRunner {
 public:
  // dk (S, D) and dv (S, Dv) are what is added to.
  HeadRunner(const Call<T>& call, int64_t b, int64_t kv_head, const Space<T>& space, T* memory,
             T* dk, T* dv)
      : call_(call),
        s_(call.shape),
        fn_(AttentionOf<T>()),
        space_(space),
        memory_(memory),
        b_(b),
        kv_head_(kv_head),
        dk_(dk),
        dv_(dv) {}

  void Run(int64_t row_begin, int64_t row_end) {
    std::fill(dk_, dk_ + s_.keys * s_.head, T(0));
    std::fill(dv_, dv_ + s_.keys * s_.v_head, T(0));
    for (int64_t k0 = 0; k0 < s_.keys; k0 += kKeyBlock) {
      const int64_t n = std::min(kKeyBlock, s_.keys - k0);
      const T* k = call_.k + call_.k_strides.at(b_, kv_head_, k0);
      const T* v = call_.v + call_.v_strides.at(b_, kv_head_, k0);
      PackTransposed(s_.head, n, k, call_.k_strides.row, KeysTransposed(k0));
      PackTransposed(s_.v_head, n, v, call_.v_strides.row, ValuesTransposed(k0));
      PackStraight(n, s_.head, k, call_.k_strides.row, KeyPanels(k0));
    }
    for (int64_t g = 0; g < s_.group(); ++g)
      for (int64_t i = row_begin; i < row_end; i += RowBlock<T>())
        Rows(kv_head_ * s_.group() + g, i, std::min(row_end, i + RowBlock<T>()));
  }

 private:
  T* KeysTransposed(int64_t k0) const {
    return memory_ + space_.k_transposed + PanelSize<T>(s_.head, k0);
  }
  T* ValuesTransposed(int64_t k0) const {
    return memory_ + space_.v_transposed + PanelSize<T>(s_.v_head, k0);
  }
  T* KeyPanels(int64_t k0) const { return memory_ + space_.k_panels + PanelSize<T>(k0, s_.head); }

  // Rows [i0, i1) of query head h.
  void Rows(int64_t h, int64_t i0, int64_t i1) {
    const int64_t rows = i1 - i0, stride = space_.stride;
    T *q = memory_ + space_.q, *dy = memory_ + space_.dy, *dq = memory_ + space_.dq;
    T* scores = memory_ + space_.scores;
    const T scale = static_cast<T>(s_.scale);
    KeyRange all = {0, 0};
    T delta[64];
    for (int64_t r = 0; r < rows; ++r) {
      all = Union(all, s_.Keys(b_, i0 + r));
      fn_.scale(q + r * s_.head, call_.q + s_.q.at(b_, h, i0 + r), s_.head, scale);
      const T* from = call_.dy + s_.y.at(b_, h, i0 + r);
      std::copy(from, from + s_.v_head, dy + r * s_.v_head);
      delta[r] = fn_.dot(from, call_.y + s_.y.at(b_, h, i0 + r), s_.v_head);
    }
    // From the first block that is attended to the last key.
    const KeyRange keys = {all.begin / kKeyBlock * kKeyBlock, all.end};
    for (int64_t k0 = keys.begin; k0 < keys.end; k0 += kKeyBlock)
      BlockGemm(rows, std::min(kKeyBlock, keys.end - k0), s_.head, q, s_.head, false,
                KeysTransposed(k0), s_.head, scores + k0, stride, T(0));
    for (int64_t r = 0; r < rows; ++r)
      Softmax(h, i0 + r, keys, scores + r * stride, memory_ + space_.capped + r * stride);

    PackStraight(rows, s_.head, q, s_.head, memory_ + space_.q_panels);
    PackStraight(rows, s_.v_head, dy, s_.v_head, memory_ + space_.dy_panels);
    std::fill(dq, dq + rows * s_.head, T(0));
    for (int64_t k0 = keys.begin; k0 < keys.end; k0 += kKeyBlock)
      Block(h, i0, rows, k0, std::min(kKeyBlock, keys.end - k0), delta);
    for (int64_t r = 0; r < rows; ++r)
      fn_.scale(call_.dq + s_.q.at(b_, h, i0 + r), dq + r * s_.head, s_.head, scale);
  }

  // Scores of `keys` become probabilities, 0 outside what the row attends.
  void Softmax(int64_t h, int64_t i, KeyRange keys, T* scores, T* capped) {
    const KeyRange valid = s_.Keys(b_, i);
    if (valid.empty()) return std::fill(scores + keys.begin, scores + keys.end, T(0));
    T* x = scores + valid.begin;
    const int64_t n = valid.end - valid.begin, at = call_.mask.at(b_, h, i) + valid.begin;
    if (const T cap = static_cast<T>(call_.attributes.softcap); cap > T(0)) {
      fn_.softcap(x, n, cap);
      std::copy(scores + keys.begin, scores + keys.end, capped + keys.begin);
    }
    if (call_.mask.bias) fn_.add(x, call_.mask.bias + at, n);
    if (call_.mask.keep) fn_.mask(x, call_.mask.keep + at, n);
    std::fill(scores + keys.begin, x, T(0));
    std::fill(x + n, scores + keys.end, T(0));
    const T max = fn_.max(x, n);
    if (max == -std::numeric_limits<T>::infinity()) return std::fill(x, x + n, T(0));
    fn_.scale(x, x, n, T(1) / fn_.exp_sum(x, n, max));
  }

  void Block(int64_t h, int64_t i0, int64_t rows, int64_t k0, int64_t n, const T* delta) {
    const T* p = memory_ + space_.scores + k0;
    T* ds = memory_ + space_.ds;
    BlockGemm(rows, n, s_.v_head, memory_ + space_.dy, s_.v_head, false, ValuesTransposed(k0),
              s_.v_head, ds, kKeyBlock, T(0));
    const T cap = static_cast<T>(call_.attributes.softcap);
    for (int64_t r = 0; r < rows; ++r) {
      T* row = ds + r * kKeyBlock;
      fn_.softmax_grad(row, p + r * space_.stride, n, delta[r]);
      if (call_.dbias)
        std::copy(row, row + n,
                  call_.dbias + ((b_ * s_.q_heads + h) * s_.rows + i0 + r) * s_.keys + k0);
      if (cap > T(0))
        fn_.softcap_grad(row, memory_ + space_.capped + r * space_.stride + k0, n, cap);
    }
    BlockGemm(n, s_.v_head, rows, p, space_.stride, true, memory_ + space_.dy_panels, rows,
              dv_ + k0 * s_.v_head, s_.v_head, T(1));
    BlockGemm(n, s_.head, rows, ds, kKeyBlock, true, memory_ + space_.q_panels, rows,
              dk_ + k0 * s_.head, s_.head, T(1));
    BlockGemm(rows, s_.head, n, ds, kKeyBlock, false, KeyPanels(k0),
              std::min(kKeyBlock, s_.keys - k0), memory_ + space_.dq, s_.head, T(1));
  }

  const Call<T>& call_;
  const AttentionShape& s_;
  const AttentionFunctions<T>& fn_;
  const Space<T>& space_;
  T* memory_;
  int64_t b_, kv_head_;
  T *dk_, *dv_;
};

// One of dK and dV: the gradient of the past and that of the new keys.
template <class T>
struct Destination {
  // Writes the head's rows from (S, size), adding `parts` of them that lie `step` apart.
  void Write(const AttentionShape& s, int64_t b, int64_t h, const T* from, int64_t parts,
             int64_t step) const {
    for (int64_t i = 0; i < s.keys; ++i, from += size) {
      T* to = i < s.past ? past + ((b * s.kv_heads + h) * s.past + i) * size
                         : fresh + strides.at(b, h, i - s.past);
      std::copy(from, from + size, to);
      for (int64_t p = 1; p < parts; ++p)
        for (int64_t j = 0; j < size; ++j) to[j] += from[p * step + j];
    }
  }
  T *fresh, *past;
  HeadStrides strides;
  int64_t size;
};

// Inputs: those of Attention, then Y and dY. Outputs: dQ, dK, dV, dpast_key, dpast_value and the
// gradient of the bias for all scores, (B, Hq, L, S).
class AttentionGradKernel : public Kernel {
 public:
  explicit AttentionGradKernel(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const AttentionShape s(attributes_, c);
    const DType dtype = DTypeOf<T>::kValue;
    const Tensor &q = c.input(0), &k = c.input(1), &v = c.input(2);
    for (int i : {7, 8})
      TK_REQUIRE(c.input(i).dtype() == dtype && c.input(i).shape() == s.Output(), ErrorKind::kShape,
                 "Y and dY must be ", Name(dtype), " ", s.Output().ToString(), ", got ",
                 Name(c.input(i).dtype()), " ", c.input(i).shape().ToString());
    Call<T> call = {s,           attributes_, AttentionMask<T>(c, s),       q.data<T>(),
                    k.data<T>(), v.data<T>(), c.input(7).data<T>(),         c.input(8).data<T>(),
                    s.k,         s.v,         OutputOf<T>(c, 0, q.shape()), nullptr};
    if (const Tensor* past = c.optional_input(4)) {
      call.k = Join<T>(c, s, s.k, s.head, past, k), call.k_strides = s.Cache(s.head);
      call.v = Join<T>(c, s, s.v, s.v_head, c.optional_input(5), v);
      call.v_strides = s.Cache(s.v_head);
    }
    const Shape past_k = {s.batch, s.kv_heads, s.past, s.head};
    const Shape past_v = {s.batch, s.kv_heads, s.past, s.v_head};
    const Destination<T> dk = {OutputOf<T>(c, 1, k.shape()), OutputOf<T>(c, 3, past_k), s.k,
                               s.head};
    const Destination<T> dv = {OutputOf<T>(c, 2, v.shape()), OutputOf<T>(c, 4, past_v), s.v,
                               s.v_head};
    if (c.has_output(5)) {
      Tensor& dbias = c.Output(5, dtype, s.Scores());
      call.dbias = dbias.data<T>();
      std::fill(call.dbias, call.dbias + dbias.size(), T(0));
    }
    Compute(c, call, dk, dv);
  }

  // An output, or scratch where it is not asked for.
  template <class T>
  static T* OutputOf(KernelContext& c, int i, const Shape& shape) {
    if (c.has_output(i)) return c.Output(i, DTypeOf<T>::kValue, shape).template data<T>();
    return c.Scratch<T>(shape.Count());
  }

  template <class T>
  static const T* Join(KernelContext& c, const AttentionShape& s, const HeadStrides& strides,
                       int64_t size, const Tensor* past, const Tensor& fresh) {
    const Shape shape = {s.batch, s.kv_heads, s.keys, size};
    Tensor joined(fresh.dtype(), shape, c.Scratch<T>(shape.Count()));
    JoinPast(c.pool(), s, strides, size, past, fresh, joined);
    return joined.data<T>();
  }

  template <class T>
  static void Compute(KernelContext& c, const Call<T>& call, const Destination<T>& dk,
                      const Destination<T>& dv) {
    const AttentionShape& s = call.shape;
    const int64_t heads = s.batch * s.kv_heads;
    if (heads == 0) return;
    const int64_t most = std::max<int64_t>(1, s.rows / (2 * RowBlock<T>()));
    const int64_t parts = std::min(CeilDiv(kWantedTasks, heads), most);
    const Space<T> space(s);
    const int64_t tasks = heads * parts, workers = c.pool().num_threads();
    const int64_t sums = s.keys * (s.head + s.v_head);
    T* memory = c.Scratch<T>(workers * space.size);
    // With one part a worker's sums are written as soon as they are complete.
    T* totals = c.Scratch<T>((parts > 1 ? tasks : workers) * sums);
    ForTasks(c.pool(), tasks, [&](int64_t task, int64_t worker) {
      const int64_t head = task / parts, part = task % parts;
      T* total = totals + (parts > 1 ? task : worker) * sums;
      const int64_t b = head / s.kv_heads, h = head % s.kv_heads;
      HeadRunner<T> runner(call, b, h, space, memory + worker * space.size, total,
                           total + s.keys * s.head);
      runner.Run(s.rows * part / parts, s.rows * (part + 1) / parts);
      if (parts > 1) return;
      dk.Write(s, b, h, total, 1, 0);
      dv.Write(s, b, h, total + s.keys * s.head, 1, 0);
    });
    if (parts == 1) return;
    c.pool().ParallelFor(heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* total = totals + i * parts * sums;
        dk.Write(s, i / s.kv_heads, i % s.kv_heads, total, parts, sums);
        dv.Write(s, i / s.kv_heads, i % s.kv_heads, total + s.keys * s.head, parts, sums);
      }
    });
  }

  AttentionAttributes attributes_;
};

static const bool kAttentionGrad =
    Register<AttentionGradKernel>("AttentionGrad").Domain("toolkit.grad").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
