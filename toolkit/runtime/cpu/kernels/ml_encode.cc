// Categories: LabelEncoder and CategoryMapper (value for value), OneHotEncoder. One lookup an
// element in a table that the attributes fill at load; split by elements.
#include <algorithm>
#include <unordered_map>

#include "kernels/ml.h"

namespace toolkit {
namespace {

constexpr int64_t kGrain = 4096;

// From elements of one tensor to elements of another, and a default for all others.
class Mapping {
 public:
  Mapping(Tensor keys, Tensor values, Tensor fallback)
      : keys_(std::move(keys)), values_(std::move(values)), fallback_(std::move(fallback)) {
    TK_REQUIRE(keys_.size() == values_.size(), ErrorKind::kShape,
               "keys and values must be as many, got ", keys_.size(), " and ", values_.size());
    TK_REQUIRE(fallback_.size() == 1 && fallback_.dtype() == values_.dtype(), ErrorKind::kDType,
               "the default must be one ", Name(values_.dtype()), ", got ", Name(fallback_.dtype()),
               fallback_.shape().ToString());
    for (int64_t i = 0; i < keys_.size(); ++i) index_[KeyAt(keys_, i)] = i;  // The last one counts.
  }
  DType from() const { return keys_.dtype(); }

  void Run(KernelContext& c) const {
    const Tensor x = c.input(0);
    TK_REQUIRE(x.dtype() == from(), ErrorKind::kDType, "X must be ", Name(from()),
               " as the keys are, got ", Name(x.dtype()));
    const Tensor& y = c.Output(0, values_.dtype(), x.shape());
    DispatchBySize(values_.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(x.size(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const auto found = index_.find(KeyAt(x, i));
          y.data<T>()[i] =
              found == index_.end() ? *fallback_.data<T>() : values_.data<T>()[found->second];
        }
      });
    });
  }

 private:
  Tensor keys_, values_, fallback_;
  std::unordered_map<uint64_t, int64_t, KeyHash> index_;
};

Tensor Text(const Attributes& a) {
  return TensorOf(std::vector<std::string>{a.String("default_string", "_Unused")});
}
Tensor Whole(const Attributes& a) {
  return TensorOf(std::vector<int64_t>{a.Int("default_int64", -1)});
}

// The list under the one attribute of "<prefix>strings", "<prefix>int64s", ... that is given.
Tensor ListOf(const Attributes& a, const std::string& prefix) {
  std::vector<Tensor> given;
  if (a.Has(prefix + "strings")) given.push_back(TensorOf(a.Strings(prefix + "strings")));
  if (a.Has(prefix + "int64s")) given.push_back(TensorOf(a.Ints(prefix + "int64s")));
  if (a.Has(prefix + "floats")) given.push_back(TensorOf(a.Floats(prefix + "floats")));
  if (a.Has(prefix + "tensor")) given.push_back(a.TensorValue(prefix + "tensor").Clone());
  TK_REQUIRE(given.size() == 1, ErrorKind::kInvalidArgument, "one attribute ", prefix,
             "* is required, got ", given.size());
  return given[0];
}

Tensor DefaultFor(const Attributes& a, DType t) {
  if (a.Has("default_tensor")) return a.TensorValue("default_tensor").Clone();
  if (t == DType::kString) return Text(a);
  if (t == DType::kInt64) return Whole(a);
  if (t == DType::kFloat) return TensorOf(std::vector<double>{a.Float("default_float", -0.0)});
  Tensor y = Tensor::Empty(t, {});
  DispatchNumbers(t, [&](auto tag) {
    using T = typename decltype(tag)::type;
    *y.data<T>() = static_cast<T>(std::is_floating_point_v<T> ? -0.0 : -1.0);
  });
  return y;
}

// LabelEncoder's keys and values; of its first version, classes that are mapped to their index, or
// back: which of the two, the input tells.
class LabelEncoder : public Kernel {
 public:
  explicit LabelEncoder(const Attributes& a) {
    if (a.Has("classes_strings")) {
      const Tensor classes = TensorOf(a.Strings("classes_strings"));
      std::vector<int64_t> count(static_cast<size_t>(classes.size()));
      for (size_t i = 0; i < count.size(); ++i) count[i] = static_cast<int64_t>(i);
      maps_.emplace_back(classes, TensorOf(count), Whole(a));
      maps_.emplace_back(TensorOf(count), classes, Text(a));
      return;
    }
    const Tensor values = ListOf(a, "values_");
    maps_.emplace_back(ListOf(a, "keys_"), values, DefaultFor(a, values.dtype()));
  }
  void Run(KernelContext& c) const override {
    const bool second = maps_.size() > 1 && c.input(0).dtype() != DType::kString;
    maps_[second].Run(c);
  }

 private:
  std::vector<Mapping> maps_;
};

class CategoryMapper : public Kernel {
 public:
  explicit CategoryMapper(const Attributes& a)
      : numbers_(TensorOf(a.Strings("cats_strings")), TensorOf(a.Ints("cats_int64s")), Whole(a)),
        texts_(TensorOf(a.Ints("cats_int64s")), TensorOf(a.Strings("cats_strings")), Text(a)) {}
  void Run(KernelContext& c) const override {
    (c.input(0).dtype() == DType::kString ? numbers_ : texts_).Run(c);
  }

 private:
  Mapping numbers_, texts_;
};

class OneHotEncoder : public Kernel {
 public:
  explicit OneHotEncoder(const Attributes& a)
      : labels_(a, "cats_int64s", "cats_strings"), zeros_(a.Int("zeros", 1) != 0) {
    for (int64_t i = 0; i < labels_.size(); ++i) index_[labels_[i]] = i;
  }
  void Run(KernelContext& c) const override {
    const Tensor x = c.input(0);
    TK_REQUIRE((x.dtype() == DType::kString) == labels_.strings(), ErrorKind::kDType,
               "X must hold ", labels_.strings() ? "strings" : "numbers",
               " as the categories do, got ", Name(x.dtype()));
    Shape shape = x.shape();
    shape.push_back(labels_.size());
    float* y = c.Output(0, DType::kFloat, shape).data<float>();
    const int64_t n = labels_.size();
    c.pool().ParallelFor(x.size(), 1 + kGrain / n, [&](int64_t begin, int64_t end) {
      std::fill(y + begin * n, y + end * n, 0.0f);
      for (int64_t i = begin; i < end; ++i) {
        const auto found = Find(x, i);
        TK_REQUIRE(zeros_ || found != index_.end(), ErrorKind::kInvalidArgument,
                   "X must hold categories only, as attribute 'zeros' is 0, got another at ", i);
        if (found != index_.end()) y[i * n + found->second] = 1;
      }
    });
  }

 private:
  using Index = std::unordered_map<uint64_t, int64_t, KeyHash>;
  // Numbers with a fraction lose it; what is no int64 is no category.
  Index::const_iterator Find(const Tensor& x, int64_t i) const {
    if (!Contains(kFloats, x.dtype())) return index_.find(KeyAt(x, i));
    const double v =
        x.dtype() == DType::kFloat ? static_cast<double>(x.data<float>()[i]) : x.data<double>()[i];
    if (!(v >= -0x1p63 && v < 0x1p63)) return index_.end();
    return index_.find(static_cast<uint64_t>(static_cast<int64_t>(v)));
  }
  Labels labels_;
  bool zeros_;
  Index index_;
};

constexpr DTypeSet kKeys = kFeatures | Bit(DType::kInt16) | kStrings;
static const bool kEncoders[] = {
    Register<LabelEncoder>("LabelEncoder").Domain(kMlDomain).Types(kKeys),
    Register<CategoryMapper>("CategoryMapper")
        .Domain(kMlDomain)
        .Types(Bit(DType::kInt64) | kStrings),
    Register<OneHotEncoder>("OneHotEncoder").Domain(kMlDomain).Types(kFeatures | kStrings),
};

}  // namespace
}  // namespace toolkit
