// Operators that only change a shape (views of their input), and Shape and Size.
#include "kernels/movement.h"

namespace toolkit {
namespace {

void Identity(KernelContext& c) { c.Alias(0, c.input(0)); }

// The same bits under another type of the same width.
class BitCast : public Kernel {
 public:
  explicit BitCast(const Attributes& a) : to_(static_cast<DType>(a.Int("to", 0))) {
    const bool fits = a.Int("to", 0) > 0 && a.Int("to", 0) <= static_cast<int>(kLastElementType);
    TK_REQUIRE(fits && Contains(kFixedSize, to_), ErrorKind::kDType,
               "attribute to must be a type of fixed size, got ", a.Int("to", 0));
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(Bits(x.dtype()) == Bits(to_), ErrorKind::kDType, "a type of ", Bits(x.dtype()),
               " bits is required for ", toolkit::Name(x.dtype()), ", got ", toolkit::Name(to_));
    if (to_ == DType::kBool)
      for (int64_t i = 0; i < x.size(); ++i)
        TK_REQUIRE(x.data<uint8_t>()[i] <= 1, ErrorKind::kInvalidArgument,
                   "bits of 0 or 1 are required to become bool, got ",
                   static_cast<int>(x.data<uint8_t>()[i]));
    c.Alias(0, Tensor(to_, x.shape(), x.raw(), x.buffer()));
  }

 private:
  static size_t Bits(DType t) {
    switch (t) {
      case DType::kUInt2:
      case DType::kInt2:
        return 2;
      case DType::kUInt4:
      case DType::kInt4:
      case DType::kFloat4E2M1:
        return 4;
      case DType::kFloat6E2M3:
      case DType::kFloat6E3M2:
        return 6;
      default:
        return 8 * ItemSize(t);
    }
  }

  DType to_;
};

class Reshape : public Kernel {
 public:
  explicit Reshape(const Attributes& a) : allow_zero_(a.Int("allowzero", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const std::vector<int64_t> wanted = ReadInts(c.input(1), "shape");
    c.Alias(0, x.Reshaped(Resolve(x, Shape(wanted.data(), wanted.size()))));
  }

 private:
  // Puts numbers in the place of 0 (the input's dimension) and -1 (what is left).
  Shape Resolve(const Tensor& x, Shape shape) const {
    const std::string asked = shape.ToString();
    int unknown = -1;
    bool copied[kMaxRank] = {};
    for (int i = 0; i < shape.rank(); ++i) {
      TK_REQUIRE(shape[i] >= -1, ErrorKind::kShape, "shape must hold sizes, 0 or -1, got ", asked);
      if (shape[i] == 0 && !allow_zero_) {
        TK_REQUIRE(i < x.rank(), ErrorKind::kShape, "0 at position ", i,
                   " of shape copies a dimension, got an input of shape ", x.shape().ToString());
        shape[i] = x.dim(i);
        copied[i] = true;
      } else if (shape[i] == -1) {
        TK_REQUIRE(unknown < 0, ErrorKind::kShape, "shape may hold -1 once, got ", asked);
        unknown = i;
      }
    }
    if (unknown >= 0) shape[unknown] = Missing(x.shape(), shape, copied);
    // Counted in 128 bits: a hostile shape must not wrap around to the right size.
    __int128 count = 1;
    for (int64_t d : shape) count = d == 0 ? 0 : std::min<__int128>(count, INT64_MAX) * d;
    TK_REQUIRE(count == x.size(), ErrorKind::kShape, "shape must keep the number of elements, got ",
               x.shape().ToString(), " and ", asked);
    return shape;
  }

  // What -1 stands for. Copied dimensions cancel, so that an empty batch still has an answer.
  static int64_t Missing(const Shape& x, const Shape& shape, const bool* copied) {
    int64_t have = 1, known = 1;
    for (int i = 0; i < x.rank(); ++i)
      if (!(i < shape.rank() && copied[i])) have *= x[i];
    for (int i = 0; i < shape.rank(); ++i)
      if (!copied[i] && shape[i] != -1 && __builtin_mul_overflow(known, shape[i], &known))
        known = 0;
    TK_REQUIRE(known > 0 && have % known == 0, ErrorKind::kShape,
               "-1 in shape cannot be resolved, got ", x.ToString(), " and ", shape.ToString());
    return have / known;
  }

  bool allow_zero_;
};

class Flatten : public Kernel {
 public:
  explicit Flatten(const Attributes& a) : axis_(a.Int("axis", 1)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int rank = x.rank();
    TK_REQUIRE(axis_ >= -rank && axis_ <= rank, ErrorKind::kIndex, "axis must lie in [", -rank,
               ", ", rank, "], got ", axis_);
    const int axis = static_cast<int>(axis_ < 0 ? axis_ + rank : axis_);
    c.Alias(0, x.Reshaped({x.shape().Count(0, axis), x.shape().Count(axis, rank)}));
  }

 private:
  int64_t axis_;
};

void Squeeze(KernelContext& c) {
  const Tensor& x = c.input(0);
  bool drop[kMaxRank] = {};
  if (const Tensor* axes = c.optional_input(1)) {
    for (int a : NormalizeAxes(ReadInts(*axes, "axes"), x.rank())) {
      TK_REQUIRE(x.dim(a) == 1, ErrorKind::kShape, "axis ", a, " must have size 1, got shape ",
                 x.shape().ToString());
      drop[a] = true;
    }
  } else {
    for (int i = 0; i < x.rank(); ++i) drop[i] = x.dim(i) == 1;
  }
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (!drop[i]) shape.push_back(x.dim(i));
  c.Alias(0, x.Reshaped(shape));
}

void Unsqueeze(KernelContext& c) {
  const Tensor& x = c.input(0);
  const std::vector<int64_t> axes = ReadInts(c.input(1), "axes");
  TK_REQUIRE(x.rank() + axes.size() <= kMaxRank, ErrorKind::kShape, "rank must be at most ",
             kMaxRank, ", got ", x.rank() + axes.size());
  const int rank = x.rank() + static_cast<int>(axes.size());
  bool added[kMaxRank] = {};
  for (int a : NormalizeAxes(axes, rank)) added[a] = true;
  Shape shape;
  for (int i = 0, from = 0; i < rank; ++i) shape.push_back(added[i] ? 1 : x.dim(from++));
  c.Alias(0, x.Reshaped(shape));
}

class ShapeOf : public Kernel {
 public:
  explicit ShapeOf(const Attributes& a)
      : start_(a.Int("start", 0)), end_(a.Int("end", INT64_MAX)) {}

  void Run(KernelContext& c) const override {
    const Shape& shape = c.input(0).shape();
    const int64_t rank = shape.rank();
    const auto clamp = [rank](int64_t i) {
      return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank);
    };
    const int64_t start = clamp(start_), n = std::max<int64_t>(0, clamp(end_) - start);
    std::copy_n(shape.begin() + start, n, c.Output(0, DType::kInt64, {n}).data<int64_t>());
  }

 private:
  int64_t start_, end_;
};

void Size(KernelContext& c) {
  const int64_t n = c.input(0).size();
  *c.Output(0, DType::kInt64, {}).data<int64_t>() = n;
}

static const bool kViews =
    Register<BitCast>("BitCast").Types(kFixedSize).View() &&
    RegisterFn("Identity", Identity).Types(kAnyValue).View() &&
    Register<Reshape>("Reshape").View() && Register<Flatten>("Flatten").View() &&
    RegisterFn("Squeeze", Squeeze).View() && RegisterFn("Unsqueeze", Unsqueeze).View();
static const bool kSizes = Register<ShapeOf>("Shape") && RegisterFn("Size", Size);

}  // namespace
}  // namespace toolkit
