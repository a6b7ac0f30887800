// SoftmaxCrossEntropyLoss and its gradient, NegativeLogLikelihoodLoss.
// Scores [N, C, D] (D: product of the spatial dimensions), labels [N, D]. One pass over the scores
// for the loss (two with log_prob), two for the gradient; parallel over rows or tiles of columns.
#include <algorithm>

#include "kernels/normalization.h"

namespace toolkit {
namespace {

enum class Averaging { kNone, kSum, kMean };

struct LossAttributes {
  explicit LossAttributes(const Attributes& a)
      : has_ignore(a.Has("ignore_index")), ignore_index(a.Int("ignore_index", 0)) {
    const std::string name = a.String("reduction", "mean");
    TK_REQUIRE(name == "none" || name == "sum" || name == "mean", ErrorKind::kInvalidArgument,
               "attribute 'reduction' must be none, sum or mean, got '", name, "'");
    reduction = name == "none"  ? Averaging::kNone
                : name == "sum" ? Averaging::kSum
                                : Averaging::kMean;
  }
  bool has_ignore;
  int64_t ignore_index;
  Averaging reduction;
};

constexpr int64_t kIgnored = -1;

// The operands after all checks: labels in [0, C) or kIgnored, weights of T or null.
template <class T>
struct LossOperands {
  LossOperands(KernelContext& c, const LossAttributes& a, const Tensor& scores,
               const Tensor& target, const Tensor* class_weights)
      : shape(target.shape()) {
    TK_REQUIRE(scores.rank() >= 2, ErrorKind::kShape, "scores must have shape (N, C, ...), got ",
               scores.shape().ToString());
    Shape expected{scores.dim(0)};
    for (int i = 2; i < scores.rank(); ++i) expected.push_back(scores.dim(i));
    TK_REQUIRE(shape == expected, ErrorKind::kShape, "labels must have shape ", expected.ToString(),
               " for scores ", scores.shape().ToString(), ", got ", shape.ToString());
    n = scores.dim(0);
    classes = scores.dim(1);
    inner = scores.shape().Count(2, scores.rank());
    if (class_weights) {
      RequireSameDType(scores, *class_weights);
      TK_REQUIRE(class_weights->shape() == Shape({classes}), ErrorKind::kShape,
                 "weights must have shape (", classes, ",), got ",
                 class_weights->shape().ToString());
      weights = class_weights->data<T>();
    }
    int64_t* checked = c.Scratch<int64_t>(target.size());
    labels = checked;
    for (int64_t i = 0; i < target.size(); ++i) {
      const int64_t label = LabelAt(target, i);
      if (a.has_ignore && label == a.ignore_index) {
        checked[i] = kIgnored;
        continue;
      }
      TK_REQUIRE(label >= 0 && label < classes, ErrorKind::kIndex, "labels must lie in [0, ",
                 classes - 1, "], got ", label);
      checked[i] = label;
      weight_sum += WeightOf(label);
    }
  }
  static int64_t LabelAt(const Tensor& t, int64_t i) {
    if (t.dtype() == DType::kInt64) return t.data<int64_t>()[i];
    if (t.dtype() == DType::kInt32) return t.data<int32_t>()[i];
    Fail(ErrorKind::kDType, "labels must be int64 or int32, got ", Name(t.dtype()));
  }
  double WeightOf(int64_t label) const {
    return label == kIgnored ? 0 : weights ? static_cast<double>(weights[label]) : 1;
  }

  Shape shape;
  int64_t n, classes, inner;
  const int64_t* labels;
  const T* weights = nullptr;
  double weight_sum = 0;
};

// Writes the losses by the attribute's reduction; loss(i) is the unweighted loss of label i.
template <class T, class Loss>
void WriteLoss(KernelContext& c, const LossAttributes& a, const LossOperands<T>& o, Loss loss) {
  if (a.reduction == Averaging::kNone) {
    T* y = c.Output(0, DTypeOf<T>::kValue, o.shape).template data<T>();
    for (int64_t i = 0; i < o.n * o.inner; ++i)
      y[i] = o.labels[i] == kIgnored
                 ? T(0)
                 : static_cast<T>(o.WeightOf(o.labels[i]) * static_cast<double>(loss(i)));
    return;
  }
  double sum = 0;
  for (int64_t i = 0; i < o.n * o.inner; ++i)
    if (o.labels[i] != kIgnored) sum += o.WeightOf(o.labels[i]) * static_cast<double>(loss(i));
  if (a.reduction == Averaging::kMean) sum /= o.weight_sum;
  *c.Output(0, DTypeOf<T>::kValue, Shape{}).template data<T>() = static_cast<T>(sum);
}

// log(sum(exp(scores))) over the classes, for each label.
template <class T>
const T* LogSumExps(KernelContext& c, const LossOperands<T>& o, const T* scores) {
  T* lse = c.Scratch<T>(o.n * o.inner);
  const auto& fn = SoftmaxOf<T>();
  const int64_t size = std::max<int64_t>(1, o.classes * o.inner);
  c.pool().ParallelFor(o.n, std::max<int64_t>(1, kMathGrain / size),
                       [&](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; ++i)
                           if (o.inner == 1)
                             lse[i] = fn.log_sum_exp(scores + i * size, o.classes);
                           else
                             fn.log_sum_exp_columns(lse + i * o.inner, scores + i * size, o.classes,
                                                    o.inner, o.inner);
                       });
  return lse;
}

class CrossEntropyKernel : public Kernel {
 public:
  explicit CrossEntropyKernel(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor& scores = c.input(0);
    const LossOperands<T> o(c, attributes_, scores, c.input(1), c.optional_input(2));
    const T* x = scores.data<T>();
    const T* lse = LogSumExps(c, o, x);
    WriteLoss(c, attributes_, o, [&](int64_t i) {
      return lse[i] - x[(i / o.inner * o.classes + o.labels[i]) * o.inner + i % o.inner];
    });
    if (!c.has_output(1)) return;
    const Tensor& log_prob = c.Output(1, scores.dtype(), scores.shape());
    const int64_t size = o.classes * o.inner;
    if (scores.size() == 0) return;
    c.pool().ParallelFor(o.n, std::max<int64_t>(1, kMathGrain / size),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i)
                             LogProb(log_prob.data<T>() + i * size, x + i * size, o);
                         });
  }
  template <class T>
  static void LogProb(T* y, const T* x, const LossOperands<T>& o) {
    if (o.inner == 1)
      SoftmaxOf<T>().log_row(y, x, o.classes);
    else
      SoftmaxOf<T>().log_columns(y, x, o.classes, o.inner, o.inner);
  }
  LossAttributes attributes_;
};

// dscores = (softmax(scores) - onehot(label)) weight[label] g, with g = dloss, dloss / sum of
// weights, or the label's own dloss.
class CrossEntropyGradKernel : public Kernel {
 public:
  explicit CrossEntropyGradKernel(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &scores = c.input(0), &dloss = c.input(2);
    const LossOperands<T> o(c, attributes_, scores, c.input(1), c.optional_input(3));
    RequireSameDType(scores, dloss);
    const bool each = attributes_.reduction == Averaging::kNone;
    TK_REQUIRE(each ? dloss.shape() == o.shape : dloss.size() == 1, ErrorKind::kShape,
               "dloss must have shape ", each ? o.shape.ToString() : "()", ", got ",
               dloss.shape().ToString());
    const T* x = scores.data<T>();
    const T* lse = LogSumExps(c, o, x);
    T* factor = c.Scratch<T>(o.n * o.inner);
    for (int64_t i = 0; i < o.n * o.inner; ++i) {
      double g = o.WeightOf(o.labels[i]) * static_cast<double>(dloss.data<T>()[each ? i : 0]);
      if (attributes_.reduction == Averaging::kMean) g /= o.weight_sum;
      factor[i] = o.labels[i] == kIgnored ? T(0) : static_cast<T>(g);
    }
    T* dx = c.Output(0, scores.dtype(), scores.shape()).template data<T>();
    if (scores.size() == 0) return;
    const int64_t size = o.classes * o.inner;
    c.pool().ParallelFor(o.n, std::max<int64_t>(1, kMathGrain / size),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i)
                             Sample(dx + i * size, x + i * size, lse + i * o.inner,
                                    factor + i * o.inner, o.labels + i * o.inner, o);
                         });
  }
  template <class T>
  static void Sample(T* dx, const T* x, const T* lse, const T* factor, const int64_t* labels,
                     const LossOperands<T>& o) {
    const auto& fn = SoftmaxOf<T>();
    if (o.inner == 1) {
      if (labels[0] == kIgnored)
        std::fill_n(dx, o.classes, T(0));
      else
        fn.exp_scaled(dx, x, o.classes, *lse, *factor);
    } else {
      for (int64_t k = 0; k < o.classes; ++k)
        fn.exp_scaled_each(dx + k * o.inner, x + k * o.inner, o.inner, lse, factor);
    }
    for (int64_t j = 0; j < o.inner; ++j) {
      if (labels[j] != kIgnored)
        dx[labels[j] * o.inner + j] -= factor[j];
      else
        for (int64_t k = 0; k < o.classes; ++k) dx[k * o.inner + j] = 0;
    }
  }
  LossAttributes attributes_;
};

class NegativeLogLikelihoodKernel : public Kernel {
 public:
  explicit NegativeLogLikelihoodKernel(const Attributes& a) : attributes_(a) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const Tensor& x = c.input(0);
      const LossOperands<T> o(c, attributes_, x, c.input(1), c.optional_input(2));
      WriteLoss(c, attributes_, o, [&](int64_t i) {
        return -x.data<T>()[(i / o.inner * o.classes + o.labels[i]) * o.inner + i % o.inner];
      });
    });
  }

 private:
  LossAttributes attributes_;
};

static const bool kLosses[] = {
    Register<CrossEntropyKernel>("SoftmaxCrossEntropyLoss").Types(kFloats).Widen(),
    Register<CrossEntropyGradKernel>("SoftmaxCrossEntropyLossGrad")
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen(),
    Register<NegativeLogLikelihoodKernel>("NegativeLogLikelihoodLoss").Types(kFloats).Widen(),
};

}  // namespace
}  // namespace toolkit
