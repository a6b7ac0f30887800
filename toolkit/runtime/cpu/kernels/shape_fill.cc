// Operators that generate values: Constant, ConstantOfShape, Range, EyeLike, OneHot; and those that
// keep or reorder part of their input by position: Trilu, ReverseSequence.
#include <cmath>

#include "kernels/half.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

class Constant : public Kernel {
 public:
  explicit Constant(const Attributes& a) {
    if (a.Has("value")) {
      value_ = a.TensorValue("value");
    } else if (a.Has("value_float") || a.Has("value_floats")) {
      const bool one = a.Has("value_float");
      Set<float>(one ? std::vector<double>{a.Float("value_float", 0)} : a.Floats("value_floats"),
                 one);
    } else if (a.Has("value_int") || a.Has("value_ints")) {
      const bool one = a.Has("value_int");
      Set<int64_t>(one ? std::vector<int64_t>{a.Int("value_int", 0)} : a.Ints("value_ints"), one);
    } else {
      Fail(ErrorKind::kUnsupported,
           "one of value, value_float(s) and value_int(s) is required; sparse and string values "
           "are not supported");
    }
  }

  void Run(KernelContext& c) const override {
    Tensor& y = c.Output(0, value_.dtype(), value_.shape());
    if (y.bytes()) std::memcpy(y.raw(), value_.raw(), y.bytes());
  }

 private:
  template <class T, class From>
  void Set(const std::vector<From>& values, bool scalar) {
    value_ = Tensor::Empty(DTypeOf<T>::kValue,
                           scalar ? Shape() : Shape{static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), value_.data<T>());
  }

  Tensor value_;
};

class ConstantOfShape : public Kernel {
 public:
  explicit ConstantOfShape(const Attributes& a) : value_(a.TensorValue("value")) {
    if (!value_.defined()) {
      value_ = Tensor::Empty(DType::kFloat, {});
      *value_.data<float>() = 0;
    }
    TK_REQUIRE(value_.size() == 1, ErrorKind::kShape, "value must hold one element, got shape ",
               value_.shape().ToString());
  }

  void Run(KernelContext& c) const override {
    const std::vector<int64_t> dims = ReadInts(c.input(0), "shape");
    FillWith(c.pool(), c.Output(0, value_.dtype(), Shape(dims.data(), dims.size())), value_.raw());
  }

 private:
  Tensor value_;
};

// Elements of a range, counted without overflow.
template <class T>
int64_t RangeCount(T start, T limit, T delta) {
  if constexpr (std::is_floating_point_v<T>) {
    const double n = std::ceil((static_cast<double>(limit) - start) / static_cast<double>(delta));
    TK_REQUIRE(n < 4e18, ErrorKind::kInvalidArgument, "the range must be finite, got ", start,
               " to ", limit, " by ", delta);  // NaN fails here too.
    return n > 0 ? static_cast<int64_t>(n) : 0;
  } else {
    const __int128 span = static_cast<__int128>(limit) - start, step = delta;
    const __int128 n = step > 0 ? (span + step - 1) / step : (-span - step - 1) / -step;
    TK_REQUIRE(n < INT64_MAX, ErrorKind::kInvalidArgument, "the range is too long");
    return n > 0 ? static_cast<int64_t>(n) : 0;
  }
}

// Halves are counted and computed in float32 (stash_type 1) or in double (11).
class Range : public Kernel {
 public:
  explicit Range(const Attributes& a) : stash_(static_cast<DType>(a.Int("stash_type", 1))) {
    TK_REQUIRE(Contains(kFloats, stash_), ErrorKind::kInvalidArgument,
               "attribute stash_type must be 1 (float32) or 11 (float64), got ",
               a.Int("stash_type", 1));
  }

  void Run(KernelContext& c) const override {
    const DType dtype = c.input(0).dtype();
    for (int i = 0; i < 3; ++i)
      TK_REQUIRE(c.input(i).dtype() == dtype && c.input(i).size() == 1, ErrorKind::kInvalidArgument,
                 "start, limit and delta must be scalars of one type, got ",
                 Name(c.input(i).dtype()), c.input(i).shape().ToString());
    DispatchAnyNumber(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (kIsHalf<T> && stash_ == DType::kDouble) return Fill<T, double>(c);
      Fill<T, std::conditional_t<kIsHalf<T>, float, T>>(c);
    });
  }

 private:
  // S is the type that the three scalars are taken in.
  template <class T, class S>
  static void Fill(KernelContext& c) {
    const auto scalar = [&](int i) { return static_cast<S>(*c.input(i).data<T>()); };
    const S start = scalar(0), limit = scalar(1), delta = scalar(2);
    TK_REQUIRE(delta != S(0), ErrorKind::kInvalidArgument, "delta must not be 0");
    const int64_t n = RangeCount(start, limit, delta);
    T* y = c.Output(0, c.input(0).dtype(), {n}).template data<T>();
    // Floats are computed in double, as numpy does; integers wrap as their type does.
    using Wide = SumOf<S>;
    c.pool().ParallelFor(n, 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        y[i] = static_cast<T>(static_cast<S>(static_cast<Wide>(start) +
                                             static_cast<Wide>(i) * static_cast<Wide>(delta)));
    });
  }

  DType stash_;
};

class EyeLike : public Kernel {
 public:
  explicit EyeLike(const Attributes& a) : dtype_(a.Int("dtype", 0)), k_(a.Int("k", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() == 2, ErrorKind::kShape, "input must be a matrix, got shape ",
               x.shape().ToString());
    const DType dtype = dtype_ ? static_cast<DType>(dtype_) : x.dtype();
    const int64_t rows = x.dim(0), cols = x.dim(1);
    const auto fill_with = [&](auto one) {
      using T = decltype(one);
      Tensor& y = c.Output(0, dtype, x.shape());
      FillZero(c.pool(), y);
      const int64_t k = std::clamp(k_, -rows, cols);
      for (int64_t r = std::max<int64_t>(0, -k); r < rows && r + k < cols; ++r)
        y.data<T>()[r * cols + r + k] = one;
    };
    if (dtype == DType::kBool) return fill_with(true);
    DispatchAnyNumber(dtype, [&](auto tag) { fill_with(typename decltype(tag)::type(1)); });
  }

 private:
  int64_t dtype_, k_;
};

// The elements of an index-like tensor of any number type, as int64.
std::vector<int64_t> ReadNumbers(const Tensor& t) {
  std::vector<int64_t> values(t.size());
  DispatchAnyNumber(t.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using S = std::conditional_t<kIsHalf<T>, float, T>;
    for (int64_t i = 0; i < t.size(); ++i) {
      const S v = t.data<T>()[i];
      // Out of every range, NaN included: no class.
      const bool fits = !std::is_floating_point_v<S> || (v > S(-9e18) && v < S(9e18));
      values[i] = fits ? static_cast<int64_t>(v) : INT64_MIN;
    }
  });
  return values;
}

class OneHot : public Kernel {
 public:
  explicit OneHot(const Attributes& a) : axis_(a.Int("axis", -1)) {}

  void Run(KernelContext& c) const override {
    const Tensor& indices = c.input(0);
    const Tensor& values = c.input(2);
    TK_REQUIRE(c.input(1).size() == 1 && c.input(1).rank() <= 1, ErrorKind::kShape,
               "depth must be one number, got shape ", c.input(1).shape().ToString());
    TK_REQUIRE(values.size() == 2, ErrorKind::kShape,
               "values must hold [off_value, on_value], got shape ", values.shape().ToString());
    const int64_t depth = ReadNumbers(c.input(1))[0];
    TK_REQUIRE(depth >= 0, ErrorKind::kInvalidArgument, "depth must not be negative, got ", depth);
    const int axis = NormalizeAxis(axis_, indices.rank() + 1);
    Shape shape;
    for (int i = 0; i <= indices.rank(); ++i)
      shape.push_back(i == axis ? depth : indices.dim(i < axis ? i : i - 1));
    Tensor& y = c.Output(0, values.dtype(), shape);
    FillWith(c.pool(), y, values.raw());
    const std::vector<int64_t> index = ReadNumbers(indices);
    const int64_t inner = shape.Count(axis + 1, shape.rank());
    DispatchBySize(values.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* out = y.data<T>();
      const T on = values.data<T>()[1];
      for (int64_t i = 0; i < indices.size(); ++i) {
        const int64_t at = index[i] < 0 ? index[i] + depth : index[i];
        if (at >= 0 && at < depth) out[(i / inner * depth + at) * inner + i % inner] = on;
      }
    });
  }

 private:
  int64_t axis_;
};

class Trilu : public Kernel {
 public:
  explicit Trilu(const Attributes& a) : upper_(a.Int("upper", 1) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int rank = x.rank();
    TK_REQUIRE(rank >= 2, ErrorKind::kShape, "input must hold matrices, got shape ",
               x.shape().ToString());
    const int64_t rows = x.dim(rank - 2), cols = x.dim(rank - 1);
    const Tensor* given = c.optional_input(1);
    const int64_t k = std::clamp(given ? ReadInt(*given, "k") : 0, -rows - 1, cols + 1);
    Tensor& y = c.Output(0, x.dtype(), x.shape());
    if (y.size() == 0) return;
    const int64_t item = static_cast<int64_t>(ItemSize(x.dtype()));
    const char* in = x.data<char>();
    char* out = y.data<char>();
    const int64_t grain = std::max<int64_t>(1, kCopyGrain / (cols * item));
    c.pool().ParallelFor(x.size() / cols, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        // Columns [0, cut) lie below the diagonal k (upper), or on and below it (lower).
        const int64_t cut = std::clamp<int64_t>(r % rows + k + (upper_ ? 0 : 1), 0, cols);
        const int64_t zero_from = upper_ ? 0 : cut, zero_to = upper_ ? cut : cols;
        const int64_t keep_from = upper_ ? cut : 0, keep_to = upper_ ? cols : cut;
        const char* from = in + r * cols * item;
        char* to = out + r * cols * item;
        if (in != out)
          std::memcpy(to + keep_from * item, from + keep_from * item, (keep_to - keep_from) * item);
        std::memset(to + zero_from * item, 0, (zero_to - zero_from) * item);
      }
    });
  }

 private:
  bool upper_;
};

class ReverseSequence : public Kernel {
 public:
  explicit ReverseSequence(const Attributes& a)
      : batch_axis_(a.Int("batch_axis", 1)), time_axis_(a.Int("time_axis", 0)) {
    TK_REQUIRE((batch_axis_ == 0 && time_axis_ == 1) || (batch_axis_ == 1 && time_axis_ == 0),
               ErrorKind::kInvalidArgument, "batch_axis and time_axis must be 0 and 1, got ",
               batch_axis_, " and ", time_axis_);
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() >= 2, ErrorKind::kShape, "input must have rank 2 or more, got shape ",
               x.shape().ToString());
    const std::vector<int64_t> lengths = ReadInts(c.input(1), "sequence_lens");
    const int64_t batch = x.dim(static_cast<int>(batch_axis_));
    const int64_t time = x.dim(static_cast<int>(time_axis_));
    TK_REQUIRE(static_cast<int64_t>(lengths.size()) == batch, ErrorKind::kShape,
               "sequence_lens must hold ", batch, " lengths, got ", lengths.size());
    for (int64_t n : lengths)
      TK_REQUIRE(n >= 0 && n <= time, ErrorKind::kIndex, "sequence_lens must lie in [0, ", time,
                 "], got ", n);
    Tensor& y = c.Output(0, x.dtype(), x.shape());
    const int64_t run = x.shape().Count(2, x.rank()) * static_cast<int64_t>(ItemSize(x.dtype()));
    const int64_t columns = x.dim(1);
    const char* src = x.data<char>();
    CopyRows(c.pool(), y.raw(), batch * time, run, [&](int64_t row) {
      const int64_t i = row / columns, j = row % columns;
      const int64_t b = batch_axis_ == 0 ? i : j, t = batch_axis_ == 0 ? j : i;
      const int64_t from = t < lengths[b] ? lengths[b] - 1 - t : t;
      return src + (batch_axis_ == 0 ? b * columns + from : from * columns + b) * run;
    });
  }

 private:
  int64_t batch_axis_, time_axis_;
};

static const bool kFills =
    Register<Constant>("Constant") && Register<ConstantOfShape>("ConstantOfShape") &&
    Register<Range>("Range").Types(kAnyNumber) &&
    Register<EyeLike>("EyeLike").Types(kAnyNumber | kBools) &&
    Register<OneHot>("OneHot").Types(kAnyNumber) && Register<Trilu>("Trilu").Inplace(0, 0) &&
    Register<ReverseSequence>("ReverseSequence");

}  // namespace
}  // namespace toolkit
