// Maps to tensors and back: CastMap, DictVectorizer, ZipMap.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <unordered_map>

#include "kernels/ml.h"

namespace toolkit {
namespace {

// The map's keys and values; fails unless they are as many and the keys of a kind.
struct MapParts {
  explicit MapParts(const Tensor& map) : keys(map.items()[0]), values(map.items()[1]) {
    TK_REQUIRE(keys.size() == values.size(), ErrorKind::kInvalidArgument,
               "a map must have as many values as keys, got ", keys.size(), " keys and ",
               values.size(), " values");
  }
  const Tensor &keys, &values;
};

float ToFloat(const Tensor& values, int64_t i) {
  if (values.dtype() == DType::kFloat) return values.data<float>()[i];
  if (values.dtype() == DType::kDouble) return static_cast<float>(values.data<double>()[i]);
  TK_REQUIRE(values.dtype() == DType::kString, ErrorKind::kDType,
             "the map's values must be float32 or strings, got ", Name(values.dtype()));
  const std::string& text = StringTable::Get(values.data<uint64_t>()[i]);
  const char* begin = text.data() + (!text.empty() && text[0] == '+');
  float value = 0;
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
  TK_REQUIRE(error == std::errc() && end == text.data() + text.size(), ErrorKind::kInvalidArgument,
             "the map's values must be numbers, got '", text, "'");
  return value;
}

// Values in the order of their keys: one after another, or each at the place that its key says.
class CastMap : public Kernel {
 public:
  explicit CastMap(const Attributes& a)
      : to_(a.String("cast_to", "TO_FLOAT")), length_(a.Int("max_map", 1)) {
    const std::string form = a.String("map_form", "DENSE");
    sparse_ = form == "SPARSE";
    TK_REQUIRE(sparse_ || form == "DENSE", ErrorKind::kInvalidArgument,
               "attribute 'map_form' must be DENSE or SPARSE, got '", form, "'");
    TK_REQUIRE(to_ == "TO_FLOAT" || to_ == "TO_INT64" || to_ == "TO_STRING",
               ErrorKind::kInvalidArgument,
               "attribute 'cast_to' must be TO_FLOAT, TO_INT64 or TO_STRING, got '", to_, "'");
    TK_REQUIRE(!sparse_ || length_ > 0, ErrorKind::kInvalidArgument,
               "attribute 'max_map' must be positive, got ", length_);
  }
  void Run(KernelContext& c) const override {
    const MapParts map(c.input(0));
    TK_REQUIRE(map.keys.dtype() == DType::kInt64, ErrorKind::kDType,
               "the map's keys must be int64, got ", Name(map.keys.dtype()));
    const int64_t* keys = map.keys.data<int64_t>();
    std::vector<int64_t> order(map.keys.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
    if (sparse_)
      for (int64_t i : order)
        TK_REQUIRE(keys[i] >= 0 && keys[i] < length_, ErrorKind::kIndex,
                   "the map's keys must lie in [0, ", length_, "), got ", keys[i]);
    const int64_t n = sparse_ ? length_ : map.keys.size();
    const auto fill = [&](auto* y, auto cast) {
      if (sparse_) std::fill(y, y + n, 0);
      for (int64_t at = 0; at < map.keys.size(); ++at)
        y[sparse_ ? keys[order[at]] : at] = cast(order[at]);
    };
    if (to_ == "TO_FLOAT")
      return fill(c.Output(0, DType::kFloat, {1, n}).data<float>(),
                  [&](int64_t i) { return ToFloat(map.values, i); });
    if (to_ == "TO_INT64")
      return fill(c.Output(0, DType::kInt64, {1, n}).data<int64_t>(),
                  [&](int64_t i) { return Truncated(ToFloat(map.values, i)); });
    StringMaker make;
    fill(c.Output(0, DType::kString, {1, n}).data<uint64_t>(),
         [&](int64_t i) { return Text(make, map.values, i); });
  }

 private:
  static int64_t Truncated(float x) {
    TK_REQUIRE(x >= -0x1p63f && x < 0x1p63f, ErrorKind::kInvalidArgument,
               "the map's values must fit int64, got ", x);
    return static_cast<int64_t>(x);
  }
  // As C++'s std::to_string: six decimals.
  static uint64_t Text(StringMaker& make, const Tensor& values, int64_t i) {
    if (values.dtype() == DType::kString) return values.data<uint64_t>()[i];
    char text[64];
    std::snprintf(text, sizeof(text), "%f", static_cast<double>(ToFloat(values, i)));
    return make(text);
  }
  std::string to_;
  bool sparse_ = false;
  int64_t length_;
};

// A row with the map's value at the place of its key in the vocabulary, 0 elsewhere.
class DictVectorizer : public Kernel {
 public:
  explicit DictVectorizer(const Attributes& a)
      : vocabulary_(a, "int64_vocabulary", "string_vocabulary") {
    for (int64_t i = 0; i < vocabulary_.size(); ++i) index_[vocabulary_[i]] = i;
  }
  void Run(KernelContext& c) const override {
    const MapParts map(c.input(0));
    TK_REQUIRE(map.keys.size() == 0 || map.keys.dtype() == vocabulary_.dtype(), ErrorKind::kDType,
               "the map's keys must be ", Name(vocabulary_.dtype()), " as the vocabulary is, got ",
               Name(map.keys.dtype()));
    const Tensor& y = c.Output(0, map.values.dtype(), {1, vocabulary_.size()});
    DispatchBySize(y.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      std::fill_n(y.data<T>(), y.size(), T{});
      for (int64_t i = 0; i < map.keys.size(); ++i) {
        const auto found = index_.find(map.keys.data<uint64_t>()[i]);
        TK_REQUIRE(found != index_.end(), ErrorKind::kInvalidArgument,
                   "the map's keys must be in the vocabulary, got another");
        y.data<T>()[found->second] = map.values.data<T>()[i];
      }
    });
  }

 private:
  Labels vocabulary_;
  std::unordered_map<uint64_t, int64_t, KeyHash> index_;
};

// Each row of scores as a map from class to score; (C) is one row. All maps share their keys.
class ZipMap : public Kernel {
 public:
  explicit ZipMap(const Attributes& a) : labels_(a, "classlabels_int64s", "classlabels_strings") {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Rows rows(x);
    TK_REQUIRE(rows.width == labels_.size(), ErrorKind::kShape, "X must have ", labels_.size(),
               " columns, one a class label, got ", x.shape().ToString());
    std::vector<Tensor> maps;
    maps.reserve(static_cast<size_t>(rows.count));
    for (int64_t row = 0; row < rows.count; ++row) {
      Tensor scores = Tensor::Empty(DType::kFloat, {rows.width});
      std::copy_n(x.data<float>() + row * rows.width, rows.width, scores.data<float>());
      maps.push_back(Tensor::Map(labels_.values(), std::move(scores)));
    }
    c.Give(0, Tensor::Sequence(std::move(maps)));
  }

 private:
  Labels labels_;
};

static const bool kMapOps[] = {
    Register<CastMap>("CastMap").Domain(kMlDomain).Types(kMaps),
    Register<DictVectorizer>("DictVectorizer").Domain(kMlDomain).Types(kMaps),
    Register<ZipMap>("ZipMap").Domain(kMlDomain).Types(Bit(DType::kFloat)).Gives(),
};

}  // namespace
}  // namespace toolkit
