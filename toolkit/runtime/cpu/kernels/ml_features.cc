// Features in, features out: ArrayFeatureExtractor, Binarizer, FeatureVectorizer, Imputer,
// Normalizer, Scaler. One pass, split by elements or rows.
#include <algorithm>
#include <cmath>

#include "kernels/ml.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

constexpr int64_t kGrain = 16384;

// Calls fn(row) for rows of `width` elements.
template <class Fn>
void EachRow(ThreadPool& pool, int64_t rows, int64_t width, Fn&& fn) {
  pool.ParallelFor(rows, 1 + kGrain / std::max<int64_t>(width, 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) fn(row);
  });
}

// Columns of the last axis: (F) gives (1, n), (..., F) gives (..., n).
void ArrayFeatureExtractor(KernelContext& c) {
  const Tensor x = c.input(0), indices = c.input(1);
  TK_REQUIRE(x.rank() > 0, ErrorKind::kShape, "X must have a dimension, got a scalar");
  TK_REQUIRE(indices.dtype() == DType::kInt64, ErrorKind::kDType, "Y must be int64, got ",
             Name(indices.dtype()));
  const int64_t width = x.dim(x.rank() - 1), n = indices.size();
  const int64_t* at = indices.data<int64_t>();
  for (int64_t i = 0; i < n; ++i)
    TK_REQUIRE(at[i] >= 0 && at[i] < width, ErrorKind::kIndex, "Y must hold indices in [0, ", width,
               "), got ", at[i]);
  Shape shape = x.rank() == 1 ? Shape{1, n} : x.shape();
  shape[shape.rank() - 1] = n;
  const Tensor& y = c.Output(0, x.dtype(), shape);
  if (y.size() == 0) return;
  DispatchBySize(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    EachRow(c.pool(), y.size() / n, n, [&](int64_t row) {
      for (int64_t i = 0; i < n; ++i) y.data<T>()[row * n + i] = x.data<T>()[row * width + at[i]];
    });
  });
}

class Binarizer : public Kernel {
 public:
  explicit Binarizer(const Attributes& a)
      : threshold_(static_cast<float>(a.Float("threshold", 0))) {}
  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      using Wide = std::conditional_t<std::is_same_v<T, float>, float, double>;
      c.pool().ParallelFor(x.size(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          y.data<T>()[i] = static_cast<Wide>(x.data<T>()[i]) > threshold_ ? T(1) : T(0);
      });
    });
  }

 private:
  float threshold_;
};

// Inputs beside each other, each cut or filled up with zeros to the width that is declared.
class FeatureVectorizer : public Kernel {
 public:
  explicit FeatureVectorizer(const Attributes& a) : widths_(a.Ints("inputdimensions")) {}
  void Run(KernelContext& c) const override {
    const int n = c.num_inputs();
    TK_REQUIRE(widths_.empty() || static_cast<int>(widths_.size()) == n, ErrorKind::kShape,
               "attribute 'inputdimensions' must hold one size an input, ", n, ", got ",
               widths_.size());
    const int64_t rows = Rows(c.input(0)).count;
    int64_t total = 0;
    for (int i = 0; i < n; ++i) {
      const Tensor& x = c.input(i);
      TK_REQUIRE(Contains(kFeatures, x.dtype()), ErrorKind::kDType,
                 "inputs must be float32, float64, int32 or int64, got ", Name(x.dtype()));
      TK_REQUIRE(Rows(x).count == rows, ErrorKind::kShape, "inputs must have ", rows, " rows, got ",
                 x.shape().ToString());
      const int64_t width = Width(i, x);
      TK_REQUIRE(width >= 0 && width <= (int64_t{1} << 40), ErrorKind::kShape,
                 "attribute 'inputdimensions' must hold sizes, got ", width);
      total += width;
    }
    float* y = c.Output(0, DType::kFloat, {rows, total}).data<float>();
    for (int i = 0; i < n; ++i) {
      const int64_t own = Rows(c.input(i)).width, width = Width(i, c.input(i));
      const float* x = ElementsAs<float>(c, c.input(i));
      const int64_t copied = std::min(own, width);
      EachRow(c.pool(), rows, width, [&](int64_t row) {
        std::copy_n(x + row * own, copied, y + row * total);
        std::fill(y + row * total + copied, y + row * total + width, 0.0f);
      });
      y += width;
    }
  }

 private:
  int64_t Width(int i, const Tensor& x) const {
    return widths_.empty() ? Rows(x).width : widths_[i];
  }
  std::vector<int64_t> widths_;
};

class Imputer : public Kernel {
 public:
  explicit Imputer(const Attributes& a)
      : replaced_int_(a.Int("replaced_value_int64", 0)), ints_(a.Ints("imputed_value_int64s")) {
    replaced_float_ = static_cast<float>(a.Float("replaced_value_float", 0));
    for (double v : a.Floats("imputed_value_floats")) floats_.push_back(static_cast<float>(v));
    TK_REQUIRE(ints_.empty() != floats_.empty(), ErrorKind::kInvalidArgument,
               "one of the attributes imputed_value_floats and imputed_value_int64s is required, "
               "got ",
               ints_.empty() ? "neither" : "both");
  }
  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    const bool floats = Contains(kFloats, x.dtype());
    TK_REQUIRE(floats == ints_.empty(), ErrorKind::kDType, "X must hold ",
               ints_.empty() ? "floats" : "integers", " as the imputed values do, got ",
               Name(x.dtype()));
    const int64_t width = x.rank() ? x.dim(x.rank() - 1) : 1;
    RequireLength(floats ? "imputed_value_floats" : "imputed_value_int64s",
                  floats ? floats_.size() : ints_.size(), width);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (std::is_floating_point_v<T>)
        Replace<T>(c.pool(), x, y, width, static_cast<T>(replaced_float_), floats_);
      else
        Replace<T>(c.pool(), x, y, width, static_cast<T>(replaced_int_), ints_);
    });
  }

 private:
  template <class T, class V>
  static void Replace(ThreadPool& pool, const Tensor& x, const Tensor& y, int64_t width, T replaced,
                      const std::vector<V>& values) {
    if (x.size() == 0) return;
    const bool nan = replaced != replaced, one = values.size() == 1;
    const T* in = x.data<T>();
    T* out = y.data<T>();
    EachRow(pool, x.size() / width, width, [&](int64_t row) {
      for (int64_t f = 0; f < width; ++f) {
        const T v = in[row * width + f];
        const bool hit = nan ? v != v : v == replaced;
        out[row * width + f] = hit ? static_cast<T>(values[one ? 0 : f]) : v;
      }
    });
  }
  int64_t replaced_int_;
  float replaced_float_;
  std::vector<int64_t> ints_;
  std::vector<float> floats_;
};

// A row by its largest element, the sum of magnitudes, or the Euclidean norm; unless that is 0.
class Normalizer : public Kernel {
 public:
  explicit Normalizer(const Attributes& a) : norm_(a.String("norm", "MAX")) {
    TK_REQUIRE(norm_ == "MAX" || norm_ == "L1" || norm_ == "L2", ErrorKind::kInvalidArgument,
               "attribute 'norm' must be MAX, L1 or L2, got '", norm_, "'");
  }
  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    const Rows rows(x);
    float* y = c.Output(0, DType::kFloat, x.shape()).data<float>();
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      EachRow(c.pool(), rows.count, rows.width, [&](int64_t row) {
        const T* in = x.data<T>() + row * rows.width;
        const double norm = NormOf(in, rows.width), scale = norm == 0 ? 1 : norm;
        for (int64_t i = 0; i < rows.width; ++i)
          y[row * rows.width + i] = static_cast<float>(static_cast<double>(in[i]) / scale);
      });
    });
  }

 private:
  template <class T>
  double NormOf(const T* x, int64_t n) const {
    if (n == 0) return 0;
    if (norm_ == "MAX") return static_cast<double>(*std::max_element(x, x + n));
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double v = static_cast<double>(x[i]);
      sum += norm_ == "L1" ? std::abs(v) : v * v;
    }
    return norm_ == "L1" ? sum : std::sqrt(sum);
  }
  std::string norm_;
};

class Scaler : public Kernel {
 public:
  explicit Scaler(const Attributes& a) : offset_(a.Floats("offset")), scale_(a.Floats("scale")) {
    for (double& v : offset_) v = static_cast<float>(v);
    for (double& v : scale_) v = static_cast<float>(v);
  }
  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    TK_REQUIRE(x.rank() > 0, ErrorKind::kShape, "X must have a dimension, got a scalar");
    const int64_t width = x.dim(x.rank() - 1);
    RequireLength("offset", offset_.size(), width);
    RequireLength("scale", scale_.size(), width);
    float* y = c.Output(0, DType::kFloat, x.shape()).data<float>();
    if (x.size() == 0) return;
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      EachRow(c.pool(), x.size() / width, width, [&](int64_t row) {
        const T* in = x.data<T>() + row * width;
        for (int64_t f = 0; f < width; ++f)
          y[row * width + f] = static_cast<float>((static_cast<double>(in[f]) - At(offset_, f, 0)) *
                                                  At(scale_, f, 1));
      });
    });
  }

 private:
  static double At(const std::vector<double>& values, int64_t f, double absent) {
    return values.empty() ? absent : values[values.size() == 1 ? 0 : f];
  }
  std::vector<double> offset_, scale_;
};

static const bool kFeatureOps[] = {
    RegisterFn("ArrayFeatureExtractor", ArrayFeatureExtractor)
        .Domain(kMlDomain)
        .Types(kFeatures | kStrings),
    Register<Binarizer>("Binarizer").Domain(kMlDomain).Types(kFeatures).Inplace(0, 0),
    Register<FeatureVectorizer>("FeatureVectorizer").Domain(kMlDomain).Types(kFeatures),
    Register<Imputer>("Imputer").Domain(kMlDomain).Types(kFeatures).Inplace(0, 0),
    Register<Normalizer>("Normalizer").Domain(kMlDomain).Types(kFeatures),
    Register<Scaler>("Scaler").Domain(kMlDomain).Types(kFeatures),
};

}  // namespace
}  // namespace toolkit
