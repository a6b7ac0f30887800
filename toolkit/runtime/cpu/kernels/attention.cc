// Attention with a running softmax (Dao et al. 2022, arxiv.org/abs/2205.14135): scores exist for a
// block of rows and keys at a time, never for all of them.
//
// A task is a run of query rows of one head, or of a few heads that share keys when they have few
// rows. It goes over the keys in blocks that are packed once, and within a block over its rows:
// scores = Q K^T, mask, exp against the largest score so far, Y = Y correction + P V. Key blocks
// that causality or a window rules out for a panel of rows are skipped. Up to four rows (decoding)
// read K and V as they lie, and many keys are then split over tasks, to be merged in order.
//
// The twin in toolkit.fused also appends to caches in place; see AttentionShape.
#include "kernels/attention.h"

#include <cmath>
#include <cstring>

namespace toolkit {
namespace {

constexpr int64_t kVectorRows = 4;   // Up to so many rows, packing K does not pay.
constexpr int64_t kSplitKeys = 512;  // Keys of a task of few rows.
constexpr int64_t kMaxTaskRows = 384;
constexpr int64_t kWantedTasks = 24;

// What one call works on.
template <class T>
struct Call {
  const AttentionShape& shape;
  const AttentionAttributes& attributes;
  AttentionMask<T> mask;
  const T *q, *k, *v;
  HeadStrides k_strides, v_strides;
  T* y;
  T* qk = nullptr;  // The scores' output, (B, Hq, L, S).

  // Keys for which a score is computed.
  KeyRange Scored(int64_t b, int64_t i) const {
    if (qk && attributes.qk_mode < 2) return {0, shape.keys};
    return shape.Keys(b, i);
  }
};

// What a row is multiplied by at the end; a sum of 0: every key is masked.
template <class T>
T Inverse(const Call<T>& call, T sum) {
  if (sum != T(0)) return T(1) / sum;
  const bool nan = call.attributes.nan_rows && call.shape.keys > 0;
  return nan ? std::numeric_limits<T>::quiet_NaN() : T(0);
}

// How rows and keys are cut into tasks: by shapes alone.
struct Cut {
  Cut(const AttentionShape& s, int64_t row_block) {
    fold = 1;
    for (int64_t f = 2; f <= s.group(); ++f)
      if (s.group() % f == 0 && f * s.rows <= row_block) fold = f;
    groups = s.batch * s.q_heads / fold;
    rows = fold * s.rows;
    const int64_t wanted = CeilDiv(kWantedTasks, std::max<int64_t>(groups, 1));
    const int64_t most = std::max<int64_t>(1, rows / (2 * row_block));
    row_cuts = std::max(CeilDiv(rows, kMaxTaskRows), std::min(wanted, most));
    key_cuts = 1;
    if (rows <= kVectorRows && groups < kWantedTasks)
      key_cuts = std::max<int64_t>(1, CeilDiv(s.keys, kSplitKeys));
  }
  int64_t tasks() const { return groups * row_cuts * key_cuts; }
  int64_t most_rows() const { return CeilDiv(rows, row_cuts); }
  int64_t fold, groups, rows, row_cuts, key_cuts;
};

// The rows [r0, r1) of a group of heads, and keys [k0, k1).
struct Task {
  Task(const AttentionShape& s, const Cut& cut, int64_t index)
      : length(s.rows), key_cut(index % cut.key_cuts) {
    const int64_t group = index / cut.key_cuts / cut.row_cuts;
    const int64_t row_cut = index / cut.key_cuts % cut.row_cuts;
    const int64_t first = group * cut.fold;
    b = first / s.q_heads, head = first % s.q_heads;
    kv_head = head / s.group();
    r0 = cut.rows * row_cut / cut.row_cuts, r1 = cut.rows * (row_cut + 1) / cut.row_cuts;
    keys = {key_cut * kSplitKeys, (key_cut + 1) * kSplitKeys};
    if (cut.key_cuts == 1) keys = {0, s.keys};
    keys.end = std::min(keys.end, s.keys);
  }
  int64_t count() const { return r1 - r0; }
  int64_t HeadOf(int64_t r) const { return head + (r0 + r) / length; }  // r: from r0.
  int64_t RowOf(int64_t r) const { return (r0 + r) % length; }
  int64_t b, head, kv_head, r0, r1, length, key_cut;
  KeyRange keys;
};

// A worker's memory.
template <class T>
struct Space {
  Space(const AttentionShape& s, const Cut& cut) {
    const int64_t rows = cut.most_rows();
    q = 0;
    y = q + RoundUp(rows * s.head, 16);
    max = y + RoundUp(rows * s.v_head, 16);
    sum = max + RoundUp(rows, 16);
    scores = sum + RoundUp(rows, 16);
    keys = scores + std::min(rows, RowBlock<T>()) * kKeyBlock;
    values = keys + PanelSize<T>(s.head, kKeyBlock);
    size = values + PanelSize<T>(kKeyBlock, s.v_head);
  }
  int64_t q, y, max, sum, scores, keys, values, size;  // Offsets.
};

template <class T>
class TaskRunner {
 public:
  TaskRunner(const Call<T>& call, const Task& task, const Space<T>& space, T* memory)
      : call_(call),
        s_(call.shape),
        task_(task),
        fn_(AttentionOf<T>()),
        q_(memory + space.q),
        y_(memory + space.y),
        max_(memory + space.max),
        sum_(memory + space.sum),
        scores_(memory + space.scores),
        key_panels_(memory + space.keys),
        value_panels_(memory + space.values) {}

  // Leaves Y times the sum in y, with the sum and the maximum of each row.
  void Run() {
    const int64_t rows = task_.count();
    const T scale = static_cast<T>(s_.scale);
    for (int64_t r = 0; r < rows; ++r) {
      const T* q = call_.q + s_.q.at(task_.b, task_.HeadOf(r), task_.RowOf(r));
      fn_.scale(q_ + r * s_.head, q, s_.head, scale);
      if (call_.qk) FillUnscored(r);
    }
    std::fill(y_, y_ + rows * s_.v_head, T(0));
    std::fill(max_, max_ + rows, -std::numeric_limits<T>::infinity());
    std::fill(sum_, sum_ + rows, T(0));
    const KeyRange all = Intersect(ScoredOf(0, rows), task_.keys);
    if (all.empty()) return;
    const bool few = rows <= kVectorRows;
    for (int64_t k0 = all.begin / kKeyBlock * kKeyBlock; k0 < all.end; k0 += kKeyBlock) {
      const KeyRange block = Intersect({k0, k0 + kKeyBlock}, task_.keys);
      if (few) {
        for (int64_t r = 0; r < rows; ++r) OneRow(r, block);
      } else {
        Pack(block);
        for (int64_t r = 0; r < rows; r += RowBlock<T>())
          Block(r, std::min(rows, r + RowBlock<T>()), block);
      }
    }
  }

  void Finish() {
    for (int64_t r = 0; r < task_.count(); ++r) {
      const int64_t h = task_.HeadOf(r), i = task_.RowOf(r);
      const T inverse = Inverse(call_, sum_[r]);
      fn_.scale(call_.y + s_.y.at(task_.b, h, i), y_ + r * s_.v_head, s_.v_head, inverse);
      if (!call_.qk || call_.attributes.qk_mode != 3) continue;
      T* p = ScoreRow(r);
      const KeyRange valid = s_.Keys(task_.b, i);
      if (valid.empty()) continue;
      if (sum_[r] == T(0)) {
        std::fill(p + valid.begin, p + valid.end, T(0));
        continue;
      }
      fn_.exp_sum(p + valid.begin, valid.end - valid.begin, max_[r]);
      fn_.scale(p + valid.begin, p + valid.begin, valid.end - valid.begin, inverse);
    }
  }

  const T* y() const { return y_; }
  const T* max() const { return max_; }
  const T* sum() const { return sum_; }

 private:
  KeyRange ScoredOf(int64_t r0, int64_t r1) const {
    KeyRange all = {0, 0};
    for (int64_t r = r0; r < r1; ++r) all = Union(all, call_.Scored(task_.b, task_.RowOf(r)));
    return all;
  }

  T* ScoreRow(int64_t r) const {
    return call_.qk +
           ((task_.b * s_.q_heads + task_.HeadOf(r)) * s_.rows + task_.RowOf(r)) * s_.keys;
  }
  // The scores' output where no score is computed: masked.
  void FillUnscored(int64_t r) {
    if (call_.attributes.qk_mode < 2) return;
    const T fill = call_.attributes.qk_mode == 2 ? -std::numeric_limits<T>::infinity() : T(0);
    std::fill(ScoreRow(r) + task_.keys.begin, ScoreRow(r) + task_.keys.end, fill);
  }

  void Pack(KeyRange block) {
    const T* k = call_.k + call_.k_strides.at(task_.b, task_.kv_head, block.begin);
    const T* v = call_.v + call_.v_strides.at(task_.b, task_.kv_head, block.begin);
    const int64_t n = block.end - block.begin;
    PackTransposed(s_.head, n, k, call_.k_strides.row, key_panels_);
    PackStraight(n, s_.v_head, v, call_.v_strides.row, value_panels_);
  }

  // Rows [r0, r1) against the packed block.
  void Block(int64_t r0, int64_t r1, KeyRange block) {
    const GemmKernels<T>& g = GemmKernelsOf<T>();
    const GemmStore<T> assign = {T(1), T(0), nullptr, nullptr},
                       add = {T(1), T(1), nullptr, nullptr};
    const int64_t count = r1 - r0, panels = CeilDiv(count, g.mr);
    const int64_t n = block.end - block.begin;
    KeyRange of[64];  // Keys of each panel of rows, from the block's first.
    KeyRange all = {0, 0};
    for (int64_t t = 0; t < panels; ++t) {
      of[t] = Intersect(ScoredOf(r0 + count * t / panels, r0 + count * (t + 1) / panels), block);
      if (!of[t].empty()) of[t].begin -= block.begin, of[t].end -= block.begin;
      all = Union(all, of[t]);
    }
    if (all.empty()) return;
    for (int64_t j = all.begin / g.nr * g.nr; j < all.end; j += g.nr) {
      const int64_t width = std::min<int64_t>(g.nr, n - j);
      for (int64_t t = 0; t < panels; ++t) {
        if (Intersect(of[t], {j, j + width}).empty()) continue;
        const int64_t i = count * t / panels, height = count * (t + 1) / panels - i;
        g.ukernel[1][width <= g.lanes][height](
            s_.head, q_ + (r0 + i) * s_.head, s_.head, key_panels_ + j * s_.head, g.nr,
            scores_ + i * kKeyBlock + j, kKeyBlock, width, assign);
      }
    }
    for (int64_t t = 0; t < panels; ++t) {
      if (of[t].empty()) continue;
      for (int64_t i = count * t / panels; i < count * (t + 1) / panels; ++i)
        Softmax(r0 + i, block.begin, of[t], scores_ + i * kKeyBlock);
    }
    const T* panel = value_panels_;
    for (int64_t j = 0; j < s_.v_head; j += g.nr, panel += n * g.nr) {
      const int64_t width = std::min<int64_t>(g.nr, s_.v_head - j);
      for (int64_t t = 0; t < panels; ++t) {
        if (of[t].empty()) continue;
        const int64_t i = count * t / panels, height = count * (t + 1) / panels - i;
        g.ukernel[1][width <= g.lanes][height](
            of[t].end - of[t].begin, scores_ + i * kKeyBlock + of[t].begin, kKeyBlock,
            panel + of[t].begin * g.nr, g.nr, y_ + (r0 + i) * s_.v_head + j, s_.v_head, width, add);
      }
    }
  }

  void OneRow(int64_t r, KeyRange block) {
    const KeyRange scored = Intersect(call_.Scored(task_.b, task_.RowOf(r)), block);
    if (scored.empty()) return;
    const int64_t n = scored.end - scored.begin;
    const T* k = call_.k + call_.k_strides.at(task_.b, task_.kv_head, scored.begin);
    const T* v = call_.v + call_.v_strides.at(task_.b, task_.kv_head, scored.begin);
    fn_.scores(scores_, q_ + r * s_.head, k, call_.k_strides.row, s_.head, n);
    Softmax(r, scored.begin, {0, n}, scores_);
    fn_.weigh(y_ + r * s_.v_head, scores_, v, call_.v_strides.row, s_.v_head, n);
  }

  // One row's step: scores of the keys first + [range) become exp(score - maximum), 0 for those it
  // may not attend; y and sum are brought to the new maximum.
  void Softmax(int64_t r, int64_t first, KeyRange range, T* scores) {
    const int64_t h = task_.HeadOf(r), i = task_.RowOf(r), mode = call_.attributes.qk_mode;
    const T cap = static_cast<T>(call_.attributes.softcap);
    const AttentionMask<T>& mask = call_.mask;
    const auto emit = [&](KeyRange part) {
      std::copy(scores + part.begin, scores + part.end, ScoreRow(r) + first + part.begin);
    };
    KeyRange valid = s_.Keys(task_.b, i);
    valid = Intersect({valid.begin - first, valid.end - first}, range);
    if (call_.qk && mode == 0) emit(range);
    if (cap > T(0)) fn_.softcap(scores + range.begin, range.end - range.begin, cap);
    if (call_.qk && mode == 1) emit(range);
    if (valid.empty()) {
      std::fill(scores + range.begin, scores + range.end, T(0));
      return;
    }
    T* x = scores + valid.begin;
    const int64_t n = valid.end - valid.begin, at = mask.at(task_.b, h, i) + first + valid.begin;
    if (mask.bias) fn_.add(x, mask.bias + at, n);
    if (mask.keep) fn_.mask(x, mask.keep + at, n);
    if (call_.qk && mode >= 2) emit(valid);
    std::fill(scores + range.begin, x, T(0));
    std::fill(x + n, scores + range.end, T(0));
    const T top = fn_.max(x, n), old = max_[r];
    const T max = top > old || top != top ? top : old;
    if (max == -std::numeric_limits<T>::infinity()) {  // Nothing to attend yet.
      std::fill(x, x + n, T(0));
      return;
    }
    const T sum = fn_.exp_sum(x, n, max);
    if (max != old) {
      if (sum_[r] != T(0)) {
        const T correction = std::exp(old - max);
        sum_[r] *= correction;
        fn_.scale(y_ + r * s_.v_head, y_ + r * s_.v_head, s_.v_head, correction);
      }
      max_[r] = max;
    }
    // An infinite score makes the row NaN, as inf - inf does.
    sum_[r] += max == std::numeric_limits<T>::infinity() ? max - max : sum;
  }

  const Call<T>& call_;
  const AttentionShape& s_;
  const Task& task_;
  const AttentionFunctions<T>& fn_;
  T *q_, *y_, *max_, *sum_, *scores_, *key_panels_, *value_panels_;
};

// Y of rows whose keys were split: parts in ascending order, each with its maximum and sum.
template <class T>
void Merge(const Call<T>& call, const Cut& cut, int64_t group, const T* parts, int64_t part_size) {
  const AttentionShape& s = call.shape;
  const auto& fn = AttentionOf<T>();
  for (int64_t r = 0; r < cut.rows; ++r) {
    const T* part = parts + r * (s.v_head + 2);
    T max = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t p = 0; p < cut.key_cuts; ++p) {
      const T top = part[p * part_size];
      if (top > max || top != top) max = top;
    }
    const int64_t head = group * cut.fold + r / s.rows;
    T* y = call.y + s.y.at(head / s.q_heads, head % s.q_heads, r % s.rows);
    std::fill(y, y + s.v_head, T(0));
    for (int64_t p = 0; p < cut.key_cuts; ++p, part += part_size) {
      if (part[1] == T(0)) continue;
      const T factor = std::exp(part[0] - max);
      sum += factor * part[1];
      for (int64_t j = 0; j < s.v_head; ++j) y[j] += factor * part[2 + j];
    }
    fn.scale(y, y, s.v_head, Inverse(call, sum));
  }
}

class AttentionKernel : public Kernel {
 public:
  explicit AttentionKernel(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const AttentionShape s(attributes_, c);
    const Tensor &k = c.input(1), &v = c.input(2);
    const DType dtype = k.dtype();
    Tensor& y = c.Output(0, dtype, s.Output());
    Call<T> call = {s,
                    attributes_,
                    AttentionMask<T>(c, s),
                    c.input(0).data<T>(),
                    k.data<T>(),
                    v.data<T>(),
                    s.k,
                    s.v,
                    y.data<T>()};
    const Tensor joined_k = Joined(c, s, 1, k, c.optional_input(4), s.k, s.head);
    const Tensor joined_v = Joined(c, s, 2, v, c.optional_input(5), s.v, s.v_head);
    if (joined_k.defined()) call.k = joined_k.data<T>(), call.k_strides = s.Cache(s.head);
    if (joined_v.defined()) call.v = joined_v.data<T>(), call.v_strides = s.Cache(s.v_head);
    if (c.has_output(3)) call.qk = c.Output(3, dtype, s.Scores()).template data<T>();
    const Cut cut = CutOf<T>(s, call.qk != nullptr);
    if (cut.tasks() > 0 && cut.rows > 0) Compute(c, call, cut);
  }

  // present_key or present_value; also where it is not asked for but past ones are given.
  static Tensor Joined(KernelContext& c, const AttentionShape& s, int output, const Tensor& fresh,
                       const Tensor* past, const HeadStrides& strides, int64_t size) {
    const Shape shape = {s.batch, s.kv_heads, s.keys, size};
    Tensor joined;
    if (s.in_place)
      joined = *past;
    else if (c.has_output(output))
      joined = c.Output(output, fresh.dtype(), shape);
    else if (past)
      joined = Tensor(fresh.dtype(), shape,
                      c.Scratch<char>(static_cast<int64_t>(CheckedBytes(fresh.dtype(), shape))));
    if (joined.defined()) JoinPast(c.pool(), s, strides, size, past, fresh, joined);
    return joined;
  }

  template <class T>
  static Cut CutOf(const AttentionShape& s, bool scores_wanted) {
    Cut cut(s, RowBlock<T>());
    if (scores_wanted) cut.key_cuts = 1;  // Probabilities need a row's final maximum and sum.
    return cut;
  }

  template <class T>
  static void Compute(KernelContext& c, const Call<T>& call, const Cut& cut) {
    const AttentionShape& s = call.shape;
    const Space<T> space(s, cut);
    T* memory = c.Scratch<T>(c.pool().num_threads() * space.size);
    const int64_t part = cut.rows * (s.v_head + 2);
    T* parts = cut.key_cuts > 1 ? c.Scratch<T>(cut.tasks() * part) : nullptr;
    ForTasks(c.pool(), cut.tasks(), [&](int64_t index, int64_t worker) {
      const Task task(s, cut, index);
      TaskRunner<T> runner(call, task, space, memory + worker * space.size);
      runner.Run();
      if (!parts) return runner.Finish();
      for (int64_t r = 0; r < cut.rows; ++r) {
        T* out = parts + index * part + r * (s.v_head + 2);
        out[0] = runner.max()[r], out[1] = runner.sum()[r];
        std::copy(runner.y() + r * s.v_head, runner.y() + (r + 1) * s.v_head, out + 2);
      }
    });
    for (int64_t g = 0; parts && g < cut.groups; ++g)
      Merge(call, cut, g, parts + g * cut.key_cuts * part, part);
  }

  AttentionAttributes attributes_;
};

static const bool kAttention = Register<AttentionKernel>("Attention").Types(kFloats).Widen();
static const bool kFused =
    Register<AttentionKernel>("Attention").Domain("toolkit.fused").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
