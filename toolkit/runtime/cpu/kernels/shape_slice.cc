// Slice and its gradient.
#include "kernels/movement.h"

namespace toolkit {
namespace {

// What a slice takes of each axis: first index, step, number of elements.
struct SliceRange {
  int64_t start, step, count;
};

// numpy's rules: negative positions count from the end, then everything is clamped.
SliceRange Clamp(int64_t start, int64_t end, int64_t step, int64_t dim) {
  TK_REQUIRE(step != 0, ErrorKind::kInvalidArgument, "steps must not be 0");
  step = std::clamp(step, -dim - 1, dim + 1);  // Longer steps take one element alike.
  if (start < 0) start += dim;
  if (end < 0) end += dim;
  if (step > 0) {
    start = std::clamp<int64_t>(start, 0, dim);
    end = std::clamp<int64_t>(end, 0, dim);
    return {start, step, end > start ? (end - start - 1) / step + 1 : 0};
  }
  start = std::clamp<int64_t>(start, -1, dim - 1);
  end = std::clamp<int64_t>(end, -1, dim - 1);
  return {start, step, start > end ? (start - end - 1) / -step + 1 : 0};
}

// Reads starts, ends, axes and steps, which begin at input `first`.
std::vector<SliceRange> ReadRanges(KernelContext& c, int first, const Shape& shape) {
  const std::vector<int64_t> starts = ReadInts(c.input(first), "starts");
  const std::vector<int64_t> ends = ReadInts(c.input(first + 1), "ends");
  const size_t n = starts.size();
  std::vector<int64_t> axes(n), steps(n, 1);
  if (const Tensor* t = c.optional_input(first + 2)) {
    axes = ReadInts(*t, "axes");
  } else {
    for (size_t i = 0; i < n; ++i) axes[i] = static_cast<int64_t>(i);
  }
  if (const Tensor* t = c.optional_input(first + 3)) steps = ReadInts(*t, "steps");
  TK_REQUIRE(ends.size() == n && axes.size() == n && steps.size() == n, ErrorKind::kShape,
             "starts, ends, axes and steps must have one length, got ", n, ", ", ends.size(), ", ",
             axes.size(), ", ", steps.size());
  std::vector<SliceRange> ranges;
  for (int64_t d : shape) ranges.push_back({0, 1, d});
  const std::vector<int> normalized = NormalizeAxes(axes, shape.rank());
  for (size_t i = 0; i < n; ++i)
    ranges[normalized[i]] = Clamp(starts[i], ends[i], steps[i], shape[normalized[i]]);
  return ranges;
}

Shape CountsOf(const std::vector<SliceRange>& ranges) {
  Shape shape;
  for (const SliceRange& r : ranges) shape.push_back(r.count);
  return shape;
}

void Slice(KernelContext& c) {
  const Tensor& x = c.input(0);
  const std::vector<SliceRange> ranges = ReadRanges(c, 1, x.shape());
  const Shape shape = CountsOf(ranges);
  Tensor& y = c.Output(0, x.dtype(), shape);
  if (y.size() == 0) return;
  const Shape to = StridesOf(shape), from = StridesOf(x.shape());
  StridedCopy copy(x.dtype());
  int64_t offset = 0;
  for (int i = 0; i < x.rank(); ++i) {
    copy.Add(shape[i], to[i], from[i] * ranges[i].step);
    offset += from[i] * ranges[i].start;
  }
  copy.Run(c.pool(), y.raw(), x.data<char>() + offset * static_cast<int64_t>(ItemSize(x.dtype())));
}

// dx is 0 but where the slice was taken, which is dy.
void SliceGrad(KernelContext& c) {
  const Tensor& dy = c.input(0);
  const std::vector<int64_t> dims = ReadInts(c.input(1), "x_shape");
  const Shape shape(dims.data(), dims.size());
  CheckedBytes(dy.dtype(), shape);
  const std::vector<SliceRange> ranges = ReadRanges(c, 2, shape);
  TK_REQUIRE(CountsOf(ranges) == dy.shape(), ErrorKind::kShape, "dy must have the slice's shape ",
             CountsOf(ranges).ToString(), ", got ", dy.shape().ToString());
  Tensor& dx = c.Output(0, dy.dtype(), shape);
  FillZero(c.pool(), dx);
  if (dy.size() == 0) return;
  const Shape to = StridesOf(shape), from = StridesOf(dy.shape());
  StridedCopy copy(dy.dtype());
  int64_t offset = 0;
  for (int i = 0; i < shape.rank(); ++i) {
    copy.Add(dy.dim(i), to[i] * ranges[i].step, from[i]);
    offset += to[i] * ranges[i].start;
  }
  copy.Run(c.pool(), dx.data<char>() + offset * static_cast<int64_t>(ItemSize(dx.dtype())),
           dy.raw());
}

static const bool kSlices =
    RegisterFn("Slice", Slice) &&
    RegisterFn("SliceGrad", SliceGrad).Types(kNumbers | kHalves).Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
