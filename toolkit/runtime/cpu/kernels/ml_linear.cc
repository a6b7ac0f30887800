// LinearClassifier and LinearRegressor: one matrix product, then a pass over its rows.
#include <algorithm>

#include "core/gemm.h"
#include "kernels/ml.h"

namespace toolkit {
namespace {

std::vector<float> FloatList(const Attributes& a, const char* name) {
  std::vector<float> values;
  for (double v : a.Floats(name)) values.push_back(static_cast<float>(v));
  return values;
}

// Scores (N, targets) = X coefficients^T + intercepts; the coefficients of a target lie together.
class Linear {
 public:
  explicit Linear(const Attributes& a)
      : coefficients_(FloatList(a, "coefficients")), intercepts_(FloatList(a, "intercepts")) {}
  int64_t intercepts() const { return static_cast<int64_t>(intercepts_.size()); }
  int64_t coefficients() const { return static_cast<int64_t>(coefficients_.size()); }

  void Scores(KernelContext& c, const Rows& rows, int64_t targets, float* y) const {
    TK_REQUIRE(
        targets > 0 && coefficients() / targets == rows.width && coefficients() % targets == 0,
        ErrorKind::kShape, "X must have as many features as a target has coefficients, got ",
        rows.width, " features, ", targets, " targets and ", coefficients(), " coefficients");
    TK_REQUIRE(intercepts() == 0 || intercepts() == targets, ErrorKind::kShape,
               "attribute 'intercepts' must hold ", targets, " values, got ", intercepts());
    if (rows.count == 0) return;
    GemmArgs<float> g;
    g.m = rows.count, g.n = targets, g.k = rows.width;
    g.a = ElementsAs<float>(c, c.input(0)), g.lda = rows.width;
    g.b = coefficients_.data(), g.ldb = rows.width, g.trans_b = true;
    g.c = y, g.ldc = targets;
    g.col_bias = intercepts_.empty() ? nullptr : intercepts_.data();
    Gemm(g);
  }

 private:
  std::vector<float> coefficients_, intercepts_;
};

class LinearRegressor : public Kernel {
 public:
  explicit LinearRegressor(const Attributes& a)
      : linear_(a), targets_(a.Int("targets", 1)), transform_(PostTransformOf(a)) {}
  void Run(KernelContext& c) const override {
    const Rows rows(c.input(0));
    TK_REQUIRE(targets_ > 0 && targets_ <= std::max<int64_t>(linear_.coefficients(), 1),
               ErrorKind::kInvalidArgument,
               "attribute 'targets' must be positive and have coefficients, got ", targets_);
    float* y = c.Output(0, DType::kFloat, {rows.count, targets_}).data<float>();
    linear_.Scores(c, rows, targets_, y);
    for (int64_t row = 0; row < rows.count; ++row)
      Transform(transform_, y + row * targets_, targets_);
  }

 private:
  Linear linear_;
  int64_t targets_;
  PostTransform transform_;
};

// One score for two labels stands for the second of them.
class LinearClassifier : public Kernel {
 public:
  explicit LinearClassifier(const Attributes& a)
      : linear_(a),
        labels_(a, "classlabels_ints", "classlabels_strings"),
        transform_(PostTransformOf(a)) {}

  void Run(KernelContext& c) const override {
    const Rows rows(c.input(0));
    TK_REQUIRE(rows.width > 0, ErrorKind::kShape, "X must have features, got ",
               c.input(0).shape().ToString());
    const int64_t classes =
        linear_.intercepts() ? linear_.intercepts() : linear_.coefficients() / rows.width;
    TK_REQUIRE(classes == 1 || classes == labels_.size(), ErrorKind::kShape,
               "coefficients of 1 or ", labels_.size(), " classes are required, got ", classes);
    const bool second = classes == 1 && labels_.size() == 2;
    const int64_t width = second ? 2 : classes;
    float* raw = second ? c.Scratch<float>(rows.count) : nullptr;
    float* z = c.has_output(1) ? c.Output(1, DType::kFloat, {rows.count, width}).data<float>()
                               : c.Scratch<float>(rows.count * width);
    linear_.Scores(c, rows, classes, second ? raw : z);
    uint64_t* y = c.has_output(0) ? c.Output(0, labels_.dtype(), {rows.count}).data<uint64_t>()
                                  : c.Scratch<uint64_t>(rows.count);
    for (int64_t row = 0; row < rows.count; ++row) {
      float* scores = z + row * width;
      if (second) scores[0] = raw[row];
      y[row] = Label(scores, classes);
      second ? Complement(scores) : Transform(transform_, scores, classes);
    }
  }

 private:
  uint64_t Label(const float* scores, int64_t classes) const {
    if (classes > 1) return labels_[std::max_element(scores, scores + classes) - scores];
    const bool positive = scores[0] > 0;
    if (labels_.size() == 2) return labels_[positive];
    return positive ? labels_[0] : labels_.Fallback(false);
  }
  // As onnxruntime: a softmax leaves the one score as it is.
  void Complement(float* scores) const {
    if (transform_ == PostTransform::kLogistic) Transform(transform_, scores, 1);
    scores[1] = scores[0];
    scores[0] = 1 - scores[0];
    if (transform_ == PostTransform::kProbit) Transform(transform_, scores, 2);
  }
  Linear linear_;
  Labels labels_;
  PostTransform transform_;
};

static const bool kLinear[] = {
    Register<LinearRegressor>("LinearRegressor").Domain(kMlDomain).Types(kFeatures),
    Register<LinearClassifier>("LinearClassifier").Domain(kMlDomain).Types(kFeatures),
};

}  // namespace
}  // namespace toolkit
