// CTCLoss and its gradient. The target l1 l2 ... is read as the states blank l1 blank l2 ... blank;
// forward (alpha) and backward (beta) variables are logarithms. Samples in parallel, each alone:
// the loss keeps one row of states, the gradient a row of alpha for each step.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/normalization.h"

namespace toolkit {
namespace {

template <class T>
constexpr T kNever = -std::numeric_limits<T>::infinity();

template <class T>
T LogAdd(T a, T b, T c) {
  const T high = std::max(a, std::max(b, c));
  if (!(high > kNever<T>)) return high;
  return high + std::log(std::exp(a - high) + std::exp(b - high) + std::exp(c - high));
}

// The operands after all checks. log_probs [T, N, C]; targets [N, S] or one after the other.
struct CtcOperands {
  CtcOperands(const Tensor& x, const Tensor& targets, const Tensor& inputs, const Tensor& labels,
              int64_t blank_class)
      : blank(blank_class) {
    TK_REQUIRE(x.rank() == 3, ErrorKind::kShape, "log_probs must have shape (T, N, C), got ",
               x.shape().ToString());
    steps = x.dim(0), batch = x.dim(1), classes = x.dim(2);
    TK_REQUIRE(blank >= 0 && blank < classes, ErrorKind::kInvalidArgument,
               "blank must be in label range [0, ", classes, "), got ", blank);
    input_lengths = Lengths(inputs, "input_lengths", steps);
    target_lengths = Lengths(labels, "target_lengths", std::numeric_limits<int64_t>::max());
    TK_REQUIRE(targets.dtype() == DType::kInt64, ErrorKind::kDType, "targets must be int64, got ",
               Name(targets.dtype()));
    const bool rows = targets.rank() == 2;
    TK_REQUIRE(rows ? targets.dim(0) == batch : targets.rank() == 1, ErrorKind::kShape,
               "targets must have shape (", batch, ", S) or (sum of target_lengths,), got ",
               targets.shape().ToString());
    int64_t sum = 0;
    for (int64_t n = 0; n < batch; ++n) {
      const int64_t length = target_lengths[n];
      TK_REQUIRE(!rows || length <= targets.dim(1), ErrorKind::kInvalidArgument,
                 "target_lengths must be at most the targets' second dimension ", targets.dim(1),
                 ", got ", length, " for sample ", n);
      TK_REQUIRE(rows || length <= targets.dim(0) - sum, ErrorKind::kInvalidArgument,
                 "the sum of target_lengths must be the size of targets ", targets.dim(0),
                 ", got more");
      first.push_back(targets.data<int64_t>() + (rows ? n * targets.dim(1) : sum));
      sum += length;
      longest = std::max(longest, length);
      for (int64_t s = 0; s < length; ++s)
        TK_REQUIRE(first[n][s] >= 0 && first[n][s] < classes, ErrorKind::kIndex,
                   "targets must lie in [0, ", classes - 1, "], got ", first[n][s]);
    }
    TK_REQUIRE(rows || sum == targets.dim(0), ErrorKind::kInvalidArgument,
               "the sum of target_lengths must be the size of targets ", targets.dim(0), ", got ",
               sum);
  }

  const int64_t* Lengths(const Tensor& t, const char* name, int64_t most) const {
    TK_REQUIRE(t.dtype() == DType::kInt64 && t.shape() == Shape({batch}), ErrorKind::kShape, name,
               " must be int64 of shape (", batch, ",), got ", Name(t.dtype()), " of shape ",
               t.shape().ToString());
    for (int64_t n = 0; n < batch; ++n)
      TK_REQUIRE(t.data<int64_t>()[n] >= 0 && t.data<int64_t>()[n] <= most,
                 ErrorKind::kInvalidArgument, name, " must lie in [0, ", most, "], got ",
                 t.data<int64_t>()[n], " for sample ", n);
    return t.data<int64_t>();
  }
  int64_t states(int64_t n) const { return 2 * target_lengths[n] + 1; }

  int64_t blank, steps, batch, classes, longest = 0;
  const int64_t *input_lengths, *target_lengths;
  std::vector<const int64_t*> first;  // Of each sample's target.
};

// One sample: the class of each state, and whether it is reached from two states before it.
template <class T>
struct Sample {
  Sample(const CtcOperands& o, const T* log_probs, int64_t index)
      : x(log_probs + index * o.classes),
        stride(o.batch * o.classes),
        steps(o.input_lengths[index]),
        count(o.states(index)),
        label(static_cast<size_t>(count)),
        skip(static_cast<size_t>(count) + 2) {
    for (int64_t s = 0; s < count; ++s) {
      label[s] = s % 2 ? o.first[index][s / 2] : o.blank;
      skip[s] = s >= 2 && label[s] != label[s - 2];
    }
  }

  // alpha_t from alpha_{t-1}; `before` null: nothing was read yet.
  void Forward(int64_t t, const T* before, T* alpha) const {
    const T* row = x + t * stride;
    for (int64_t s = 0; s < count; ++s) {
      if (!before) {
        alpha[s] = s < 2 ? row[label[s]] : kNever<T>;
        continue;
      }
      const T one = s ? before[s - 1] : kNever<T>;
      alpha[s] = LogAdd(before[s], one, skip[s] ? before[s - 2] : kNever<T>) + row[label[s]];
    }
  }
  // The loss of the last alpha; without steps 0 for an empty target.
  T Loss(const T* alpha) const {
    if (!steps) return count == 1 ? T(0) : -kNever<T>;
    return -LogAdd(alpha[count - 1], count > 1 ? alpha[count - 2] : kNever<T>, kNever<T>);
  }
  // beta_{t-1} of `now` = beta_t + log p_t.
  void Backward(const T* now, T* beta) const {
    for (int64_t s = 0; s < count; ++s) {
      const T one = s + 1 < count ? now[s + 1] : kNever<T>;
      beta[s] = LogAdd(now[s], one, skip[s + 2] ? now[s + 2] : kNever<T>);
    }
  }

  const T* x;
  int64_t stride, steps, count;
  std::vector<int64_t> label;
  std::vector<char> skip;  // Two more than states, false.
};

int64_t Grain(const CtcOperands& o) {
  return std::max<int64_t>(1, 4096 / (1 + o.steps * (2 * o.longest + 1)));
}

class CtcLossKernel : public Kernel {
 public:
  explicit CtcLossKernel(const Attributes& a) : blank_(a.Int("blank", 0)) {}
  void Run(KernelContext& c) const override {
    const CtcOperands o(c.input(0), c.input(1), c.input(2), c.input(3), blank_);
    DispatchFloats(c.input(0).dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* x = c.input(0).data<T>();
      T* loss = c.Output(0, c.input(0).dtype(), Shape{o.batch}).template data<T>();
      c.pool().ParallelFor(o.batch, Grain(o), [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
          const Sample<T> sample(o, x, n);
          std::vector<T> rows(static_cast<size_t>(2 * sample.count));
          T *alpha = rows.data(), *next = alpha + sample.count;
          for (int64_t t = 0; t < sample.steps; ++t, std::swap(alpha, next))
            sample.Forward(t, t ? alpha : nullptr, next);
          loss[n] = sample.Loss(alpha);
        }
      });
    });
  }

 private:
  int64_t blank_;
};

// dx = -dloss P(step t is in a state of class c) = -dloss sum over s of exp(alpha + beta + loss).
class CtcLossGradKernel : public Kernel {
 public:
  explicit CtcLossGradKernel(const Attributes& a) : blank_(a.Int("blank", 0)) {}
  void Run(KernelContext& c) const override {
    const CtcOperands o(c.input(1), c.input(2), c.input(3), c.input(4), blank_);
    RequireSameDType(c.input(1), c.input(0));
    TK_REQUIRE(c.input(0).shape() == Shape({o.batch}), ErrorKind::kShape, "dloss must have shape (",
               o.batch, ",), got ", c.input(0).shape().ToString());
    DispatchFloats(c.input(1).dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T *dloss = c.input(0).data<T>(), *x = c.input(1).data<T>();
      T* dx = c.Output(0, c.input(1).dtype(), c.input(1).shape()).template data<T>();
      std::fill_n(dx, c.input(1).size(), T(0));
      c.pool().ParallelFor(o.batch, Grain(o), [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n)
          if (dloss[n] != T(0)) One(Sample<T>(o, x, n), dloss[n], dx + n * o.classes);
      });
    });
  }

 private:
  template <class T>
  static void One(const Sample<T>& sample, T dloss, T* dx) {
    const int64_t count = sample.count;
    if (!sample.steps) return;
    std::vector<T> memory(static_cast<size_t>((sample.steps + 2) * count));
    T *alpha = memory.data(), *beta = alpha + sample.steps * count, *now = beta + count;
    for (int64_t t = 0; t < sample.steps; ++t)
      sample.Forward(t, t ? alpha + (t - 1) * count : nullptr, alpha + t * count);
    T loss = sample.Loss(alpha + (sample.steps - 1) * count);
    if (!(loss < -kNever<T>)) loss = std::numeric_limits<T>::quiet_NaN();  // No alignment.
    std::fill_n(beta, count, kNever<T>);
    beta[count - 1] = 0;
    if (count > 1) beta[count - 2] = 0;
    for (int64_t t = sample.steps - 1; t >= 0; --t) {
      const T *row = sample.x + t * sample.stride, *a = alpha + t * count;
      T* to = dx + t * sample.stride;
      for (int64_t s = 0; s < count; ++s) {
        to[sample.label[s]] -= dloss * std::exp(a[s] + beta[s] + loss);
        now[s] = beta[s] + row[sample.label[s]];
      }
      sample.Backward(now, beta);
    }
  }
  int64_t blank_;
};

static const bool kCtc[] = {
    Register<CtcLossKernel>("CTCLoss").Domain("toolkit.nn").Types(kFloats).Widen(),
    Register<CtcLossGradKernel>("CTCLossGrad").Domain("toolkit.grad").Types(kFloats).Widen(),
};

}  // namespace
}  // namespace toolkit
