// ScatterElements, ScatterND and the gradient of Gather.
// Where several updates meet in one element they are applied in the order of the indices, whatever
// the number of threads: work is split only over elements that no two updates share.
#include <complex>
#include <string>
#include <type_traits>

#include "kernels/half.h"
#include "kernels/indexing.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMin, kMax };

Reduction ReductionOf(const Attributes& a) {
  const std::string name = a.String("reduction", "none");
  if (name == "none") return Reduction::kNone;
  if (name == "add") return Reduction::kAdd;
  if (name == "mul") return Reduction::kMul;
  if (name == "min") return Reduction::kMin;
  if (name == "max") return Reduction::kMax;
  Fail(ErrorKind::kInvalidArgument, "reduction must be none, add, mul, min or max, got ", name);
}

struct Replace {
  template <class T>
  T operator()(T, T update) const {
    return update;
  }
};
// Integers wrap: they are computed in an unsigned type.
template <class T>
using Wrapping = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
struct Add {
  template <class T>
  T operator()(T x, T update) const {
    return static_cast<T>(static_cast<Wrapping<T>>(x) + static_cast<Wrapping<T>>(update));
  }
};
struct Multiply {
  template <class T>
  T operator()(T x, T update) const {
    return static_cast<T>(static_cast<Wrapping<T>>(x) * static_cast<Wrapping<T>>(update));
  }
};
struct Min {  // NaN wins, as in numpy.minimum.
  template <class T>
  T operator()(T x, T update) const {
    return x <= update || x != x ? x : update;
  }
};
struct Max {
  template <class T>
  T operator()(T x, T update) const {
    return x >= update || x != x ? x : update;
  }
};

// to[i] = combine(to[i], from[i]) for whole rows.
template <class T, class Combine>
void CombineRow(T* to, const T* from, int64_t n, Combine combine) {
  for (int64_t i = 0; i < n; ++i) to[i] = combine(to[i], from[i]);
}
template <class T>
void CombineRow(T* to, const T* from, int64_t n, Replace) {
  std::copy_n(from, n, to);
}
void CombineRow(float* to, const float* from, int64_t n, Add) {
  constexpr int kOp = static_cast<int>(BinaryOp::kAdd), kType = static_cast<int>(Element::kF32);
  BinaryFunctions().fn[kOp][kType](to, to, from, n, 1, 1);
}

// Calls fn(TypeTag<T>{}, combine) for the element type and the reduction. Truth values add by "or"
// and multiply by "and"; complex numbers have no order.
template <class Fn>
void DispatchReduction(DType dtype, Reduction reduction, Fn&& fn) {
  if (reduction == Reduction::kNone)
    return DispatchBySize(dtype, [&](auto tag) { fn(tag, Replace{}); });
  const bool sum = reduction == Reduction::kAdd;
  if (dtype == DType::kBool) {
    const TypeTag<uint8_t> tag;
    return sum || reduction == Reduction::kMax ? fn(tag, Max{}) : fn(tag, Min{});
  }
  if ((sum || reduction == Reduction::kMul) && dtype == DType::kComplex64) {
    const TypeTag<std::complex<float>> tag;
    return sum ? fn(tag, Add{}) : fn(tag, Multiply{});
  }
  if ((sum || reduction == Reduction::kMul) && dtype == DType::kComplex128) {
    const TypeTag<std::complex<double>> tag;
    return sum ? fn(tag, Add{}) : fn(tag, Multiply{});
  }
  DispatchAnyNumber(dtype, [&](auto tag) {
    switch (reduction) {
      case Reduction::kAdd:
        return fn(tag, Add{});
      case Reduction::kMul:
        return fn(tag, Multiply{});
      case Reduction::kMin:
        return fn(tag, Min{});
      default:
        return fn(tag, Max{});
    }
  });
}

// Output 0 holding the elements of `x`: x's own memory when the program lets them share it.
Tensor& CopyOfInput(KernelContext& c, const Tensor& x) {
  Tensor& y = c.Output(0, x.dtype(), x.shape());
  if (y.raw() != x.raw())
    CopyRows(c.pool(), y.raw(), 1, static_cast<int64_t>(x.bytes()),
             [&](int64_t) { return x.data<char>(); });
  return y;
}

class ScatterElements : public Kernel {
 public:
  explicit ScatterElements(const Attributes& a)
      : axis_(a.Int("axis", 0)), reduction_(ReductionOf(a)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& indices = c.input(1);
    const Tensor& updates = c.input(2);
    TK_REQUIRE(updates.dtype() == x.dtype() && updates.shape() == indices.shape(),
               ErrorKind::kShape, "updates must be ", Name(x.dtype()), " of the shape of indices ",
               indices.shape().ToString(), ", got ", Name(updates.dtype()), " ",
               updates.shape().ToString());
    const Lanes lanes = LanesOf(c, x.shape(), indices.shape(), axis_);
    const int64_t* index = NormalizeIndices(c, indices, x.dim(lanes.axis));
    Tensor& y = CopyOfInput(c, x);
    if (indices.size() == 0) return;
    DispatchReduction(x.dtype(), reduction_, [&](auto tag, auto combine) {
      using T = typename decltype(tag)::type;
      Scatter(c.pool(), lanes, index, updates.data<T>(), y.data<T>(), combine);
    });
  }

 private:
  // Parallel over lanes: all indices that share their coordinates but for the axis.
  template <class T, class Combine>
  static void Scatter(ThreadPool& pool, const Lanes& lanes, const int64_t* index, const T* updates,
                      T* y, Combine combine) {
    const int64_t grain = std::max<int64_t>(1, 4096 / lanes.length);
    pool.ParallelFor(lanes.outer * lanes.inner, grain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t o = begin / lanes.inner, i0 = begin % lanes.inner;
        const int64_t n = std::min(lanes.inner - i0, end - begin);
        T* base = y + lanes.outer_offset[o];
        for (int64_t l = 0; l < lanes.length; ++l) {
          const int64_t row = (o * lanes.length + l) * lanes.inner;
          for (int64_t i = i0; i < i0 + n; ++i) {
            T& place = base[index[row + i] * lanes.stride + lanes.inner_offset[i]];
            place = combine(place, updates[row + i]);
          }
        }
        begin += n;
      }
    });
  }

  int64_t axis_;
  Reduction reduction_;
};

class ScatterND : public Kernel {
 public:
  explicit ScatterND(const Attributes& a) : reduction_(ReductionOf(a)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& indices = c.input(1);
    const Tensor& updates = c.input(2);
    const int64_t* offset = TupleOffsets(c, indices, x.shape(), 0);
    const int tuple_rank = indices.rank() - 1;
    const int below = static_cast<int>(indices.dim(tuple_rank));
    Shape shape;
    for (int i = 0; i < tuple_rank; ++i) shape.push_back(indices.dim(i));
    for (int i = below; i < x.rank(); ++i) shape.push_back(x.dim(i));
    TK_REQUIRE(updates.dtype() == x.dtype() && updates.shape() == shape, ErrorKind::kShape,
               "updates must be ", Name(x.dtype()), " of shape ", shape.ToString(), ", got ",
               Name(updates.dtype()), " ", updates.shape().ToString());
    Tensor& y = CopyOfInput(c, x);
    const int64_t rows = shape.Count(0, tuple_rank), run = x.shape().Count(below, x.rank());
    DispatchReduction(x.dtype(), reduction_, [&](auto tag, auto combine) {
      using T = typename decltype(tag)::type;
      const T* in = updates.data<T>();
      T* out = y.data<T>();
      // Every range of columns sees all rows in their order.
      c.pool().ParallelFor(run, std::max<int64_t>(64, 16384 / std::max<int64_t>(1, rows)),
                           [&](int64_t begin, int64_t end) {
                             for (int64_t r = 0; r < rows; ++r) {
                               const T* from = in + r * run;
                               CombineRow(out + offset[r] * run + begin, from + begin, end - begin,
                                          combine);
                             }
                           });
    });
  }

 private:
  Reduction reduction_;
};

// dx[..., indices[i], ...] += dy[..., i, ...]. The positions are sorted by index (a stable counting
// sort), then each row of dx is summed by one thread in the order of the indices.
class GatherGrad : public Kernel {
 public:
  explicit GatherGrad(const Attributes& a) : axis_(a.Int("axis", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& dy = c.input(0);
    const Tensor& indices = c.input(1);
    const std::vector<int64_t> dims = ReadInts(c.input(2), "x_shape");
    const Shape shape(dims.data(), dims.size());
    CheckedBytes(dy.dtype(), shape);
    const int axis = NormalizeAxis(axis_, shape.rank());
    Shape expected;
    for (int i = 0; i < axis; ++i) expected.push_back(shape[i]);
    for (int64_t d : indices.shape()) expected.push_back(d);
    for (int i = axis + 1; i < shape.rank(); ++i) expected.push_back(shape[i]);
    TK_REQUIRE(dy.shape() == expected, ErrorKind::kShape, "dy must have shape ",
               expected.ToString(), ", got ", dy.shape().ToString());
    const int64_t bound = shape[axis], n = indices.size();
    const int64_t* index = NormalizeIndices(c, indices, bound);
    int64_t* first = c.Scratch<int64_t>(bound + 1);
    int64_t* order = c.Scratch<int64_t>(n);
    SortByIndex(index, n, bound, first, order);
    Tensor& dx = c.Output(0, dy.dtype(), shape);
    if (dx.size() == 0) return;
    const int64_t outer = shape.Count(0, axis), inner = shape.Count(axis + 1, shape.rank());
    DispatchNumbers(dy.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* in = dy.data<T>();
      T* out = dx.data<T>();
      c.pool().ParallelFor(
          outer * bound, std::max<int64_t>(1, 8192 / inner), [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
              T* to = out + row * inner;
              std::fill_n(to, inner, T(0));
              const int64_t v = row % bound;
              for (int64_t k = first[v]; k < first[v + 1]; ++k) {
                CombineRow(to, in + (row / bound * n + order[k]) * inner, inner, Add{});
              }
            }
          });
    });
  }

 private:
  // order[first[v] .. first[v + 1]) lists the positions of index v, ascending.
  static void SortByIndex(const int64_t* index, int64_t n, int64_t bound, int64_t* first,
                          int64_t* order) {
    std::fill_n(first, bound + 1, 0);
    for (int64_t i = 0; i < n; ++i) ++first[index[i]];
    int64_t total = 0;
    for (int64_t v = 0; v <= bound; ++v) {  // first[v]: the end of v's list, walked down below.
      if (v < bound) total += first[v];
      first[v] = total;
    }
    for (int64_t i = n - 1; i >= 0; --i) order[--first[index[i]]] = i;
  }

  int64_t axis_;
};

static const bool kScatters =
    Register<ScatterElements>("ScatterElements").Inplace(0, 0) &&
    Register<ScatterND>("ScatterND").Inplace(0, 0) &&
    Register<GatherGrad>("GatherGrad").Types(kNumbers).Widen().Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
