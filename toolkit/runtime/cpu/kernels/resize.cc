// Resize and its gradient.
//
// Interpolation is separable: one pass an axis, the last two of an image in one, in parallel over
// planes and blocks of rows. Mode nearest copies elements. The gradient runs the transposed maps.
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/movement.h"
#include "kernels/resize_plan.h"

namespace toolkit {
namespace {

constexpr DTypeSet kResizeTypes =
    kNumbers | kBools | Bit(DType::kComplex64) | Bit(DType::kComplex128);

// One pass over the data: two neighbouring axes, or one (the other is -1).
struct Step {
  int rows, columns;
};

// Axes that shrink come first; the others from the last on, so that long rows come late.
template <class T>
std::vector<Step> StepsOf(const std::vector<AxisPass<T>>& passes, const Shape& shape) {
  std::vector<int> axes;
  for (int i = 0; i < shape.rank(); ++i)
    if (!passes[i].identity()) axes.push_back(i);
  const auto shrinks = [&](int i) { return passes[i].out() < passes[i].in(); };
  std::stable_sort(axes.begin(), axes.end(),
                   [&](int a, int b) { return shrinks(a) != shrinks(b) ? shrinks(a) : a > b; });
  std::vector<Step> steps;
  for (size_t i = 0; i < axes.size(); ++i) {
    const bool innermost = shape.Count(axes[i] + 1, shape.rank()) == 1;
    if (i + 1 < axes.size()) {
      const int low = std::min(axes[i], axes[i + 1]), high = std::max(axes[i], axes[i + 1]);
      if (shape.Count(low + 1, high) == 1 && shape.Count(high + 1, shape.rank()) == 1) {
        steps.push_back({low, high});
        ++i;
        continue;
      }
    }
    steps.push_back(innermost ? Step{-1, axes[i]} : Step{axes[i], -1});
  }
  return steps;
}

// Runs the maps of all axes over x, of shape `shape`.
template <class T>
void RunMaps(KernelContext& c, const std::vector<AxisMap>& maps, Shape shape, const T* x, T* y) {
  const std::vector<AxisPass<T>> passes(maps.begin(), maps.end());
  const std::vector<Step> steps = StepsOf(passes, shape);
  if (steps.empty()) std::memcpy(y, x, static_cast<size_t>(shape.Count()) * sizeof(T));
  std::shared_ptr<Buffer> held;
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto [rows, columns] = steps[i];
    const int64_t outer = shape.Count(0, rows < 0 ? columns : rows);
    const int64_t inner = shape.Count((columns < 0 ? rows : columns) + 1, shape.rank());
    if (rows >= 0) shape[rows] = passes[rows].out();
    if (columns >= 0) shape[columns] = passes[columns].out();
    std::shared_ptr<Buffer> buffer;
    T* to = y;
    if (i + 1 < steps.size()) {
      buffer = Buffer::Allocate(CheckedBytes(DTypeOf<T>::kValue, shape));
      to = reinterpret_cast<T*>(buffer->data());
    }
    const AxisPass<T> other = AxisPass<T>::Identity(rows < 0 ? outer : inner);
    RunPlanes<T>(c.pool(), rows < 0 ? 1 : outer, rows < 0 ? other : passes[rows],
                 columns < 0 ? other : passes[columns], x, to);
    held = std::move(buffer);
    x = to;
  }
}

// Integers are interpolated in float64, then saturated and rounded, halves to even.
template <class T>
void RunConverted(KernelContext& c, const std::vector<AxisMap>& maps, const Tensor& x, Tensor& y) {
  double* wide = c.Scratch<double>(x.size());
  double* result = c.Scratch<double>(y.size());
  const T* from = x.data<T>();
  std::copy(from, from + x.size(), wide);
  RunMaps<double>(c, maps, x.shape(), wide, result);
  constexpr double kLow = static_cast<double>(std::numeric_limits<T>::lowest());
  constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
  T* to = y.data<T>();
  for (int64_t i = 0; i < y.size(); ++i)
    to[i] = result[i] >= kHigh ? std::numeric_limits<T>::max()
            : result[i] > kLow ? static_cast<T>(std::nearbyint(result[i]))
                               : std::numeric_limits<T>::lowest();
}

void RunNearest(KernelContext& c, const std::vector<std::vector<int64_t>>& maps, const Tensor& x,
                Tensor& y) {
  int rank = x.rank();
  const auto same = [&](int i) {
    for (int64_t o = 0; o < y.dim(i); ++o)
      if (maps[i][o] != o) return false;
    return x.dim(i) == y.dim(i);
  };
  int64_t run = 1;  // Elements that stay together.
  while (rank > 0 && same(rank - 1)) run *= x.dim(--rank);
  const Shape strides = StridesOf(x.shape());
  const int outer = std::max(0, rank - 1);
  const int64_t rows = y.shape().Count(0, outer), width = rank > 0 ? y.dim(outer) : 1;
  const auto row_of = [&](int64_t row) {
    int64_t offset = 0;
    for (int d = outer - 1; d >= 0; --d) {
      offset += std::max<int64_t>(0, maps[d][row % y.dim(d)]) * strides[d];
      row /= y.dim(d);
    }
    return offset;
  };
  std::vector<int64_t> columns(static_cast<size_t>(width), 0);
  for (int64_t j = 0; j < width && rank > 0; ++j)
    columns[j] = std::max<int64_t>(0, maps[outer][j]) * run;
  bool doubled = run == 1 && width % 2 == 0;
  for (int64_t j = 0; j < width && doubled; ++j) doubled = columns[j] == j / 2;
  DispatchBySize(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    c.pool().ParallelFor(rows, 1 + 32768 / (width * run), [&](int64_t begin, int64_t end) {
      int64_t previous = -1;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t offset = row_of(row);
        const T* from = x.data<T>() + offset;
        T* to = y.data<T>() + row * width * run;
        const size_t bytes = static_cast<size_t>(run) * sizeof(T);
        if (offset == previous)
          std::memcpy(to, to - width * run, static_cast<size_t>(width) * bytes);
        else if (doubled)
          for (int64_t j = 0; j < width / 2; ++j) to[2 * j] = to[2 * j + 1] = from[j];
        else if (run == 1)
          for (int64_t j = 0; j < width; ++j) to[j] = from[columns[j]];
        else
          for (int64_t j = 0; j < width; ++j) std::memcpy(to + j * run, from + columns[j], bytes);
        previous = offset;
      }
    });
  });
}

// Sets what lies outside of the region of interest along any axis.
template <class T>
void Extrapolate(const std::vector<std::vector<bool>>& outside, T value, const Tensor& y) {
  for (int a = 0; a < y.rank(); ++a) {
    const int64_t outer = y.shape().Count(0, a), inner = y.shape().Count(a + 1, y.rank());
    for (int64_t o = 0; o < y.dim(a); ++o) {
      if (!outside[a][o]) continue;
      for (int64_t i = 0; i < outer; ++i) {
        T* to = y.data<T>() + (i * y.dim(a) + o) * inner;
        std::fill(to, to + inner, value);
      }
    }
  }
}

void ExtrapolateAny(const std::vector<std::vector<bool>>& outside, double value, const Tensor& y) {
  if (y.dtype() == DType::kBool) return Extrapolate<bool>(outside, value != 0, y);
  if (Contains(kNumbers, y.dtype())) {
    DispatchNumbers(y.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const double low = static_cast<double>(std::numeric_limits<T>::lowest());
      const double high = static_cast<double>(std::numeric_limits<T>::max());
      const bool whole = std::is_integral_v<T>;
      const T fill = !whole || (value > low && value < high) ? static_cast<T>(value)
                     : value >= high                         ? std::numeric_limits<T>::max()
                                                             : std::numeric_limits<T>::lowest();
      Extrapolate<T>(outside, fill, y);
    });
    return;
  }
  TK_REQUIRE(value == 0, ErrorKind::kUnsupported, "extrapolation_value must be 0 for ",
             Name(y.dtype()), ", got ", value);
  DispatchBySize(y.dtype(),
                 [&](auto tag) { Extrapolate(outside, typename decltype(tag)::type{}, y); });
}

class Resize : public Kernel {
 public:
  explicit Resize(const Attributes& attributes) : attributes_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const ResizePlan plan = attributes_.Resolve(x.shape(), c.optional_input(1), c.optional_input(2),
                                                c.optional_input(3));
    const bool nearest = attributes_.mode == ResizeMode::kNearest;
    TK_REQUIRE(nearest || Contains(kNumbers, x.dtype()), ErrorKind::kDType,
               "mode linear or cubic requires numbers, got ", Name(x.dtype()));
    Tensor& y = c.Output(0, x.dtype(), plan.out);
    if (y.size() == 0) return;
    std::vector<std::vector<bool>> outside;
    bool any = false;
    if (nearest) {
      std::vector<std::vector<int64_t>> maps;
      for (const ResizeAxis& axis : plan.axes) {
        maps.push_back(attributes_.NearestMap(axis));
        outside.emplace_back();
        for (int64_t at : maps.back()) outside.back().push_back(at < 0), any |= at < 0;
      }
      RunNearest(c, maps, x, y);
    } else {
      std::vector<AxisMap> maps;
      for (const ResizeAxis& axis : plan.axes) {
        maps.push_back(attributes_.Map(axis));
        outside.emplace_back();
        for (int64_t o = 0; o < axis.out; ++o) {
          const bool empty = maps.back().start[o] == maps.back().start[o + 1];
          outside.back().push_back(empty);
          any |= empty;
        }
      }
      DispatchNumbers(x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        if constexpr (std::is_floating_point_v<T>)
          RunMaps<T>(c, maps, x.shape(), x.data<T>(), y.data<T>());
        else
          RunConverted<T>(c, maps, x, y);
      });
    }
    if (any) ExtrapolateAny(outside, attributes_.extrapolation_value, y);
  }

 private:
  ResizeAttributes attributes_;
};

// (dy, x_shape, roi, scales, sizes) -> dx.
class ResizeGrad : public Kernel {
 public:
  explicit ResizeGrad(const Attributes& attributes) : attributes_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor& dy = c.input(0);
    const std::vector<int64_t> dims = ReadInts(c.input(1), "x_shape");
    const Shape shape(dims.data(), dims.size());
    CheckedBytes(dy.dtype(), shape);
    const ResizePlan plan =
        attributes_.Resolve(shape, c.optional_input(2), c.optional_input(3), c.optional_input(4));
    TK_REQUIRE(dy.shape() == plan.out, ErrorKind::kShape, "dy must have the output's shape ",
               plan.out.ToString(), ", got ", dy.shape().ToString());
    Tensor& dx = c.Output(0, dy.dtype(), shape);
    if (dx.size() == 0) return;
    if (dy.size() == 0) return FillZero(c.pool(), dx);
    std::vector<AxisMap> maps;
    for (const ResizeAxis& axis : plan.axes) maps.push_back(attributes_.Map(axis).Transposed());
    DispatchFloats(dy.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      RunMaps<T>(c, maps, dy.shape(), dy.data<T>(), dx.data<T>());
    });
  }

 private:
  ResizeAttributes attributes_;
};

static const bool kResize = Register<Resize>("Resize").Types(kResizeTypes | kStrings).Widen();
static const bool kResizeGrad =
    Register<ResizeGrad>("ResizeGrad").Types(kFloats).Widen().Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
