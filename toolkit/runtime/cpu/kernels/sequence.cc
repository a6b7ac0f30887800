// Sequences and optionals. A sequence never changes: an operator that alters one makes another,
// which shares the items. Items have memory of their own.
#include <cstring>

#include "kernels/movement.h"

namespace toolkit {
namespace {

// Position in [0, n], or in [0, n) where an item must be there; negative ones count from the end.
int64_t Position(const Tensor& t, int64_t n, bool item) {
  const int64_t given = ReadInt(t, "position"), at = given < 0 ? given + n : given;
  TK_REQUIRE(at >= 0 && at <= n - item, ErrorKind::kIndex, "position must lie in [", -n, ", ",
             n - item, "], got ", given);
  return at;
}

void SequenceConstruct(KernelContext& c) {
  std::vector<Tensor> items;
  for (int i = 0; i < c.num_inputs(); ++i) {
    TK_REQUIRE(c.input(i).dtype() == c.input(0).dtype(), ErrorKind::kDType,
               "items must have one type, got ", Name(c.input(0).dtype()), " and ",
               Name(c.input(i).dtype()));
    items.push_back(c.input(i).Clone());
  }
  c.Give(0, Tensor::Sequence(std::move(items)));
}

void SequenceEmpty(KernelContext& c) { c.Give(0, Tensor::Sequence({})); }

void SequenceInsert(KernelContext& c) {
  std::vector<Tensor> items = c.input(0).items();
  const auto n = static_cast<int64_t>(items.size());
  if (n > 0)
    TK_REQUIRE(items[0].dtype() == c.input(1).dtype(), ErrorKind::kDType,
               "items must have one type, ", Name(items[0].dtype()), ", got ",
               Name(c.input(1).dtype()));
  const int64_t at = c.has_input(2) ? Position(c.input(2), n, false) : n;
  items.insert(items.begin() + at, c.input(1).Clone());
  c.Give(0, Tensor::Sequence(std::move(items)));
}

void SequenceErase(KernelContext& c) {
  std::vector<Tensor> items = c.input(0).items();
  const auto n = static_cast<int64_t>(items.size());
  TK_REQUIRE(n > 0, ErrorKind::kIndex, "a sequence with items is required, got an empty one");
  items.erase(items.begin() + (c.has_input(1) ? Position(c.input(1), n, true) : n - 1));
  c.Give(0, Tensor::Sequence(std::move(items)));
}

void SequenceAt(KernelContext& c) {
  const std::vector<Tensor>& items = c.input(0).items();
  c.Give(0, items[Position(c.input(1), static_cast<int64_t>(items.size()), true)]);
}

void SequenceLength(KernelContext& c) {
  *c.Output(0, DType::kInt64, Shape{}).data<int64_t>() =
      static_cast<int64_t>(c.input(0).items().size());
}

// The slice [begin, begin + count) of x along `axis`; the axis goes where `squeeze`.
Tensor Part(KernelContext& c, const Tensor& x, int axis, int64_t begin, int64_t count,
            bool squeeze) {
  Shape shape;
  for (int d = 0; d < x.rank(); ++d)
    if (d != axis || !squeeze) shape.push_back(d == axis ? count : x.dim(d));
  Tensor y = Tensor::Empty(x.dtype(), shape);
  const int64_t outer = x.shape().Count(0, axis), inner = x.shape().Count(axis + 1, x.rank());
  StridedCopy copy(x.dtype());
  copy.Add(outer, count * inner, x.dim(axis) * inner);
  copy.Add(count * inner, 1, 1);
  copy.Run(c.pool(), y.raw(),
           x.data<char>() + begin * inner * static_cast<int64_t>(ItemSize(x.dtype())));
  return y;
}

class SplitToSequence : public Kernel {
 public:
  explicit SplitToSequence(const Attributes& a)
      : axis_(a.Int("axis", 0)), keep_(a.Int("keepdims", 1) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int axis = NormalizeAxis(axis_, x.rank());
    const Tensor* split = c.optional_input(1);
    std::vector<Tensor> items;
    int64_t begin = 0;
    for (int64_t count : Sizes(split, x.dim(axis))) {
      items.push_back(Part(c, x, axis, begin, count, !split && !keep_));
      begin += count;
    }
    c.Give(0, Tensor::Sequence(std::move(items)));
  }

 private:
  // One each, chunks of a scalar's size (the last may be smaller), or the sizes that are given.
  static std::vector<int64_t> Sizes(const Tensor* split, int64_t dim) {
    if (!split) return std::vector<int64_t>(static_cast<size_t>(dim), 1);
    std::vector<int64_t> sizes = ReadInts(*split, "split");
    if (split->rank() == 0) {
      const int64_t chunk = sizes[0];
      TK_REQUIRE(chunk > 0, ErrorKind::kInvalidArgument, "split must be positive, got ", chunk);
      sizes.clear();
      for (int64_t at = 0; at < dim; at += std::min(chunk, dim - at))
        sizes.push_back(std::min(chunk, dim - at));
      return sizes;
    }
    int64_t left = dim;
    for (int64_t size : sizes) {
      TK_REQUIRE(size >= 0 && size <= left, ErrorKind::kShape, "split must hold sizes that sum to ",
                 dim, ", got one of ", size);
      left -= size;
    }
    TK_REQUIRE(left == 0, ErrorKind::kShape, "split must sum to ", dim, ", got ", dim - left);
    return sizes;
  }
  int64_t axis_;
  bool keep_;
};

class ConcatFromSequence : public Kernel {
 public:
  explicit ConcatFromSequence(const Attributes& a)
      : axis_(a.Int("axis", 0)), new_axis_(a.Int("new_axis", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const std::vector<Tensor>& items = c.input(0).items();
    TK_REQUIRE(!items.empty(), ErrorKind::kShape,
               "a sequence with items is required, got an empty one");
    const Tensor& first = items[0];
    const int axis = NormalizeAxis(axis_, first.rank() + new_axis_);
    Shape shape;
    for (int d = 0; d < first.rank() + new_axis_; ++d)
      shape.push_back(d == axis ? 0 : first.dim(new_axis_ && d > axis ? d - 1 : d));
    for (const Tensor& t : items) {
      bool fits = t.dtype() == first.dtype() && t.rank() == first.rank();
      for (int d = 0; fits && d < t.rank(); ++d)
        fits = t.dim(d) == first.dim(d) || (!new_axis_ && d == axis);
      TK_REQUIRE(fits, ErrorKind::kShape, "items must agree in all dimensions but axis ", axis,
                 ", got ", first.shape().ToString(), " and ", t.shape().ToString());
      shape[axis] += new_axis_ ? 1 : t.dim(axis);
    }
    Tensor& y = c.Output(0, first.dtype(), shape);
    const int64_t outer = shape.Count(0, axis), inner = shape.Count(axis + 1, shape.rank());
    char* at = y.data<char>();
    for (const Tensor& t : items) {
      const int64_t run = (new_axis_ ? 1 : t.dim(axis)) * inner;
      StridedCopy copy(y.dtype());
      copy.Add(outer, shape[axis] * inner, run);
      copy.Add(run, 1, 1);
      copy.Run(c.pool(), at, t.raw());
      at += run * static_cast<int64_t>(ItemSize(y.dtype()));
    }
  }

 private:
  int64_t axis_;
  bool new_axis_;
};

// An optional with a value is that value.
void Optional(KernelContext& c) { c.Give(0, c.has_input(0) ? c.input(0).Clone() : Tensor::None()); }

void OptionalHasElement(KernelContext& c) {
  *c.Output(0, DType::kBool, Shape{}).data<bool>() =
      c.has_input(0) && c.input(0).dtype() != DType::kNone;
}

void OptionalGetElement(KernelContext& c) {
  TK_REQUIRE(c.input(0).dtype() != DType::kNone, ErrorKind::kInvalidArgument,
             "an optional with a value is required, got one without");
  c.Alias(0, c.input(0));
}

static const bool kSequence[] = {
    RegisterFn("SequenceConstruct", SequenceConstruct).Types(kMovable).Gives(),
    RegisterFn("SequenceEmpty", SequenceEmpty).Gives(),
    RegisterFn("SequenceInsert", SequenceInsert).Types(kSequences).Gives(),
    RegisterFn("SequenceErase", SequenceErase).Types(kSequences).Gives(),
    RegisterFn("SequenceAt", SequenceAt).Types(kSequences).Gives(),
    RegisterFn("SequenceLength", SequenceLength).Types(kSequences),
    Register<SplitToSequence>("SplitToSequence").Types(kMovable).Gives(),
    Register<ConcatFromSequence>("ConcatFromSequence").Types(kSequences),
    RegisterFn("Optional", Optional).Types(kAnyValue).Gives(),
    RegisterFn("OptionalHasElement", OptionalHasElement).Types(kAnyValue),
    RegisterFn("OptionalGetElement", OptionalGetElement).Types(kAnyValue).View(),
};

}  // namespace
}  // namespace toolkit
