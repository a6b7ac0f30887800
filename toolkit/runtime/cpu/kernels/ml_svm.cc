// SVMClassifier and SVMRegressor: kernels between rows and support vectors, split by rows. Sums in
// double: thousands of terms of either sign.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/ml.h"

namespace toolkit {
namespace {

constexpr double kSmallest = 1e-7;  // Of a pairwise probability.

std::vector<float> FloatList(const Attributes& a, const char* name) {
  std::vector<float> values;
  for (double v : a.Floats(name)) values.push_back(static_cast<float>(v));
  return values;
}

// The kernel function of two vectors.
class KernelFunction {
 public:
  explicit KernelFunction(const Attributes& a) {
    static constexpr const char* kNames[] = {"LINEAR", "POLY", "RBF", "SIGMOID"};
    const std::string name = a.String("kernel_type", "LINEAR");
    const auto* found = std::find(std::begin(kNames), std::end(kNames), name);
    TK_REQUIRE(found != std::end(kNames), ErrorKind::kInvalidArgument,
               "attribute 'kernel_type' must be LINEAR, POLY, RBF or SIGMOID, got '", name, "'");
    kind_ = static_cast<Kind>(found - kNames);
    const std::vector<float> p = FloatList(a, "kernel_params");
    TK_REQUIRE(p.empty() || p.size() == 3, ErrorKind::kShape,
               "attribute 'kernel_params' must hold gamma, coef0 and degree, got ", p.size(),
               " values");
    if (!p.empty()) gamma_ = p[0], coef0_ = p[1], degree_ = p[2];
  }

  double operator()(const float* a, const float* b, int64_t n) const {
    if (kind_ == kRbf) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double d = static_cast<double>(a[i]) - b[i];
        sum += d * d;
      }
      return std::exp(-gamma_ * sum);
    }
    const double dot = Dot(a, b, n);
    if (kind_ == kLinear) return dot;
    const double t = gamma_ * dot + coef0_;
    return kind_ == kPoly ? std::pow(t, degree_) : std::tanh(t);
  }
  static double Dot(const float* a, const float* b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
  }

 private:
  enum Kind { kLinear, kPoly, kRbf, kSigmoid };
  Kind kind_;
  double gamma_ = 0, coef0_ = 0, degree_ = 0;
};

// Support vectors, or the coefficients of a linear machine: (count, width) in one list.
void RequireWidth(const std::vector<float>& vectors, int64_t count, int64_t width,
                  const char* what) {
  const auto size = static_cast<int64_t>(vectors.size());
  TK_REQUIRE(size % count == 0 && size / count == width, ErrorKind::kShape,
             "X must have as many features as ", what, " hold, got ", width, " features and ", size,
             " values in ", count, " vectors");
}

class SVMRegressor : public Kernel {
 public:
  explicit SVMRegressor(const Attributes& a)
      : kernel_(a),
        coefficients_(FloatList(a, "coefficients")),
        vectors_(FloatList(a, "support_vectors")),
        rho_(FloatList(a, "rho")),
        count_(a.Int("n_supports", 0)),
        one_class_(a.Int("one_class", 0) != 0),
        transform_(PostTransformOf(a)) {
    TK_REQUIRE(!rho_.empty(), ErrorKind::kInvalidArgument,
               "attribute 'rho' must hold a value, got none");
    TK_REQUIRE(count_ <= 0 || count_ == static_cast<int64_t>(coefficients_.size()),
               ErrorKind::kShape, "a coefficient for each of ", count_,
               " support vectors is required, got ", coefficients_.size());
  }
  void Run(KernelContext& c) const override {
    const Rows rows(c.input(0));
    const bool linear = count_ <= 0;
    RequireWidth(linear ? coefficients_ : vectors_, linear ? 1 : count_, rows.width,
                 linear ? "coefficients" : "support vectors");
    float* y = c.Output(0, DType::kFloat, {rows.count, 1}).data<float>();
    const float* x = ElementsAs<float>(c, c.input(0));
    const int64_t work = rows.width * std::max<int64_t>(count_, 1);
    c.pool().ParallelFor(rows.count, 1 + 8192 / std::max<int64_t>(work, 1),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t row = begin; row < end; ++row)
                             y[row] = Value(x + row * rows.width, rows.width);
                         });
  }

 private:
  float Value(const float* x, int64_t width) const {
    double sum = rho_[0];
    if (count_ <= 0) sum += KernelFunction::Dot(x, coefficients_.data(), width);
    for (int64_t j = 0; j < count_; ++j)
      sum += coefficients_[j] * kernel_(x, vectors_.data() + j * width, width);
    if (one_class_) return sum > 0 ? 1.0f : -1.0f;
    auto value = static_cast<float>(sum);
    if (transform_ == PostTransform::kProbit || transform_ == PostTransform::kLogistic)
      Transform(transform_, &value, 1);
    return value;
  }
  KernelFunction kernel_;
  std::vector<float> coefficients_, vectors_, rho_;
  int64_t count_;
  bool one_class_;
  PostTransform transform_;
};

// Class probabilities from those of pairs: r[i, j] = P(i | i or j). libsvm's iteration (Wu, Lin and
// Weng 2004, algorithm 2).
void CoupledProbabilities(int64_t k, const double* r, double* p) {
  std::vector<double> q(k * k, 0.0), qp(k);
  for (int64_t t = 0; t < k; ++t) {
    p[t] = 1.0 / static_cast<double>(k);
    for (int64_t j = 0; j < k; ++j) {
      if (j == t) continue;
      q[t * k + t] += r[j * k + t] * r[j * k + t];
      q[t * k + j] = -r[j * k + t] * r[t * k + j];
    }
  }
  const double epsilon = 0.005 / static_cast<double>(k);
  for (int64_t turn = 0; turn < std::max<int64_t>(100, k); ++turn) {
    double total = 0, error = 0;
    for (int64_t t = 0; t < k; ++t) {
      qp[t] = std::inner_product(p, p + k, q.data() + t * k, 0.0);
      total += p[t] * qp[t];
    }
    for (int64_t t = 0; t < k; ++t) error = std::max(error, std::abs(qp[t] - total));
    if (error < epsilon) break;
    for (int64_t t = 0; t < k; ++t) {
      const double own = q[t * k + t], diff = (total - qp[t]) / own;
      p[t] += diff;
      total = (total + diff * (diff * own + 2 * qp[t])) / ((1 + diff) * (1 + diff));
      for (int64_t j = 0; j < k; ++j) {
        qp[j] = (qp[j] + diff * q[t * k + j]) / (1 + diff);
        p[j] /= 1 + diff;
      }
    }
  }
}

// With support vectors: one machine for each pair of classes, and votes. Without: one linear
// machine a class.
class SVMClassifier : public Kernel {
 public:
  explicit SVMClassifier(const Attributes& a)
      : kernel_(a),
        coefficients_(FloatList(a, "coefficients")),
        vectors_(FloatList(a, "support_vectors")),
        rho_(FloatList(a, "rho")),
        prob_a_(FloatList(a, "prob_a")),
        prob_b_(FloatList(a, "prob_b")),
        counts_(a.Ints("vectors_per_class")),
        labels_(a, "classlabels_ints", "classlabels_strings"),
        classes_(labels_.size()),
        pairs_(classes_ * (classes_ - 1) / 2),
        transform_(PostTransformOf(a)) {
    TK_REQUIRE(!rho_.empty() && !coefficients_.empty(), ErrorKind::kInvalidArgument,
               "attributes 'rho' and 'coefficients' must hold values, got ", rho_.size(), " and ",
               coefficients_.size());
    for (int64_t n : counts_) {
      TK_REQUIRE(n >= 0 && n <= (int64_t{1} << 40), ErrorKind::kInvalidArgument,
                 "attribute 'vectors_per_class' must hold counts, got ", n);
      starts_.push_back(total_);
      total_ += n;
    }
    if (total_ > 0) CheckPairs();
  }

  void Run(KernelContext& c) const override {
    const Rows rows(c.input(0));
    const int64_t n = total_ > 0 ? total_ : classes_;
    RequireWidth(total_ > 0 ? vectors_ : coefficients_, n, rows.width,
                 total_ > 0 ? "support vectors" : "coefficients");
    const int64_t raw = total_ == 0 || !prob_a_.empty() ? classes_ : pairs_;
    const int64_t width = total_ > 0 && classes_ == 2 ? 2 : raw;
    uint64_t* y = c.has_output(0) ? c.Output(0, labels_.dtype(), {rows.count}).data<uint64_t>()
                                  : c.Scratch<uint64_t>(rows.count);
    float* z = c.has_output(1) ? c.Output(1, DType::kFloat, {rows.count, width}).data<float>()
                               : c.Scratch<float>(rows.count * width);
    const float* x = ElementsAs<float>(c, c.input(0));
    c.pool().ParallelFor(rows.count, 1 + 8192 / std::max<int64_t>(n * rows.width, 1),
                         [&](int64_t begin, int64_t end) {
                           std::vector<double> scratch;
                           std::vector<float> scores(std::max<int64_t>(raw, 2));
                           for (int64_t row = begin; row < end; ++row) {
                             y[row] = Row(x + row * rows.width, rows.width, scratch, scores, raw);
                             std::copy_n(scores.begin(), width, z + row * width);
                           }
                         });
  }

 private:
  void CheckPairs() const {
    TK_REQUIRE(static_cast<int64_t>(counts_.size()) == classes_ && classes_ >= 2, ErrorKind::kShape,
               "vectors_per_class for each of at least 2 classes is required, "
               "got ",
               counts_.size(), " counts and ", classes_, " labels");
    const auto size = static_cast<int64_t>(coefficients_.size());
    TK_REQUIRE(size == (classes_ - 1) * total_, ErrorKind::kShape,
               "coefficients of shape (classes - 1, support vectors) are required, got ", size,
               " for ", classes_, " classes and ", total_, " vectors");
    const auto enough = [&](const std::vector<float>& v, bool needed, const char* name) {
      TK_REQUIRE(!needed || static_cast<int64_t>(v.size()) == pairs_, ErrorKind::kShape,
                 "attribute '", name, "' must hold a value for each of ", pairs_,
                 " pairs of classes, got ", v.size());
    };
    enough(rho_, true, "rho");
    enough(prob_a_, !prob_a_.empty(), "prob_a");
    enough(prob_b_, !prob_a_.empty(), "prob_b");
  }

  // The label of a row; `scores` takes its `raw` scores, transformed.
  uint64_t Row(const float* x, int64_t width, std::vector<double>& scratch,
               std::vector<float>& scores, int64_t raw) const {
    if (total_ == 0) {
      for (int64_t j = 0; j < classes_; ++j)
        scores[j] = static_cast<float>(
            rho_[0] + KernelFunction::Dot(x, coefficients_.data() + j * width, width));
      const auto best = std::max_element(scores.begin(), scores.begin() + classes_);
      const uint64_t label = labels_[best - scores.begin()];
      Transform(transform_, scores.data(), raw);
      return label;
    }
    std::vector<int64_t> votes(classes_);
    Pairs(x, width, scratch, votes);
    if (!prob_a_.empty())
      Probabilities(scratch.data() + total_, scores);
    else
      std::transform(scratch.begin() + total_, scratch.end(), scores.begin(),
                     [](double s) { return static_cast<float>(s); });
    if (raw == 1) {  // One machine decides between two classes: a score for each.
      scores[1] = scores[0];
      scores[0] = -scores[0];
    }
    Transform(transform_, scores.data(), std::max<int64_t>(raw, 2));
    return labels_[std::max_element(votes.begin(), votes.end()) - votes.begin()];
  }

  // scratch: the kernels with all support vectors, then the decision of each pair.
  void Pairs(const float* x, int64_t width, std::vector<double>& scratch,
             std::vector<int64_t>& votes) const {
    scratch.resize(total_ + pairs_);
    double* kernels = scratch.data();
    for (int64_t j = 0; j < total_; ++j)
      kernels[j] = kernel_(x, vectors_.data() + j * width, width);
    const auto part = [&](int64_t row, int64_t of) {
      double sum = 0;
      for (int64_t v = starts_[of]; v < starts_[of] + counts_[of]; ++v)
        sum += coefficients_[row * total_ + v] * kernels[v];
      return sum;
    };
    int64_t pair = 0;
    for (int64_t i = 0; i < classes_; ++i)
      for (int64_t j = i + 1; j < classes_; ++j, ++pair) {
        const double s = rho_[pair] + part(j - 1, i) + part(i, j);
        kernels[total_ + pair] = s;
        ++votes[s > 0 ? i : j];
      }
  }

  void Probabilities(const double* decisions, std::vector<float>& scores) const {
    std::vector<double> r(classes_ * classes_), p(classes_);
    int64_t pair = 0;
    for (int64_t i = 0; i < classes_; ++i)
      for (int64_t j = i + 1; j < classes_; ++j, ++pair) {
        const double v = 1 / (1 + std::exp(decisions[pair] * prob_a_[pair] + prob_b_[pair]));
        r[i * classes_ + j] = std::min(std::max(v, kSmallest), 1 - kSmallest);
        r[j * classes_ + i] = 1 - r[i * classes_ + j];
      }
    CoupledProbabilities(classes_, r.data(), p.data());
    std::transform(p.begin(), p.end(), scores.begin(),
                   [](double v) { return static_cast<float>(v); });
  }

  KernelFunction kernel_;
  std::vector<float> coefficients_, vectors_, rho_, prob_a_, prob_b_;
  std::vector<int64_t> counts_, starts_;
  Labels labels_;
  int64_t classes_, pairs_, total_ = 0;
  PostTransform transform_;
};

static const bool kSvm[] = {
    Register<SVMRegressor>("SVMRegressor").Domain(kMlDomain).Types(kFeatures),
    Register<SVMClassifier>("SVMClassifier").Domain(kMlDomain).Types(kFeatures),
};

}  // namespace
}  // namespace toolkit
