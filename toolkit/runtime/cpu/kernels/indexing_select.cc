// Operators whose output size depends on values: NonZero, Compress, Unique; and TopK.
#include <algorithm>
#include <numeric>

#include "kernels/indexing.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

// Calls fn with the C++ type of a comparable element.
template <class Fn>
decltype(auto) DispatchComparable(DType t, Fn&& fn) {
  if (t == DType::kBool) return fn(TypeTag<uint8_t>{});
  return DispatchNumbers(t, fn);
}

template <class T>
bool IsNan(T x) {
  return x != x;
}

// Two passes over x in fixed blocks: count, then write the flat positions that are not zero.
template <class T>
int64_t* FlatNonZero(KernelContext& c, const T* x, int64_t n, int64_t* count) {
  constexpr int64_t kBlock = 8192;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  int64_t* first = c.Scratch<int64_t>(blocks + 1);
  c.pool().ParallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      int64_t found = 0;
      for (int64_t i = b * kBlock; i < std::min(n, (b + 1) * kBlock); ++i) found += x[i] != T(0);
      first[b + 1] = found;
    }
  });
  first[0] = 0;
  for (int64_t b = 0; b < blocks; ++b) first[b + 1] += first[b];
  int64_t* positions = c.Scratch<int64_t>(first[blocks]);
  c.pool().ParallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      int64_t* out = positions + first[b];
      for (int64_t i = b * kBlock; i < std::min(n, (b + 1) * kBlock); ++i)
        if (x[i] != T(0)) *out++ = i;
    }
  });
  *count = first[blocks];
  return positions;
}

void NonZero(KernelContext& c) {
  const Tensor& x = c.input(0);
  DispatchComparable(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    int64_t count = 0;
    const int64_t* flat = FlatNonZero(c, x.data<T>(), x.size(), &count);
    int64_t* y = c.Output(0, DType::kInt64, {x.rank(), count}).template data<int64_t>();
    const Shape strides = StridesOf(x.shape());
    c.pool().ParallelFor(count, 4096, [&](int64_t begin, int64_t end) {
      for (int d = 0; d < x.rank(); ++d)
        for (int64_t i = begin; i < end; ++i) y[d * count + i] = flat[i] / strides[d] % x.dim(d);
    });
  });
}

class Compress : public Kernel {
 public:
  explicit Compress(const Attributes& a) : flat_(!a.Has("axis")), axis_(a.Int("axis", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& condition = c.input(1);
    TK_REQUIRE(condition.dtype() == DType::kBool && condition.rank() == 1, ErrorKind::kDType,
               "condition must be a bool vector, got ", Name(condition.dtype()), " ",
               condition.shape().ToString());
    const Tensor x = flat_ ? c.input(0).Reshaped({c.input(0).size()}) : c.input(0);
    const int axis = NormalizeAxis(axis_, x.rank());
    int64_t count = 0;
    const int64_t* kept = FlatNonZero(c, condition.data<uint8_t>(), condition.size(), &count);
    TK_REQUIRE(count == 0 || kept[count - 1] < x.dim(axis), ErrorKind::kIndex,
               "condition must select positions below ", x.dim(axis), ", got ", kept[count - 1]);
    Shape shape = x.shape();
    shape[axis] = count;
    Tensor& y = c.Output(0, x.dtype(), shape);
    if (y.size() == 0) return;
    const int64_t run =
        x.shape().Count(axis + 1, x.rank()) * static_cast<int64_t>(ItemSize(x.dtype()));
    const char* src = x.data<char>();
    const int64_t dim = x.dim(axis);
    CopyRows(c.pool(), y.raw(), x.shape().Count(0, axis) * count, run,
             [&](int64_t row) { return src + (row / count * dim + kept[row % count]) * run; });
  }

 private:
  bool flat_;
  int64_t axis_;
};

class TopK : public Kernel {
 public:
  explicit TopK(const Attributes& a)
      : axis_(a.Int("axis", -1)), largest_(a.Int("largest", 1) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int axis = NormalizeAxis(axis_, x.rank());
    const int64_t dim = x.dim(axis), k = ReadInt(c.input(1), "K");
    TK_REQUIRE(k >= 0 && k <= dim, ErrorKind::kInvalidArgument, "K must lie in [0, ", dim,
               "], the size of axis ", axis, ", got ", k);
    Shape shape = x.shape();
    shape[axis] = k;
    Tensor* values = c.has_output(0) ? &c.Output(0, x.dtype(), shape) : nullptr;
    Tensor* indices = c.has_output(1) ? &c.Output(1, DType::kInt64, shape) : nullptr;
    if (shape.Count() == 0) return;
    const int64_t inner = shape.Count(axis + 1, shape.rank());
    DispatchComparable(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t grain = std::max<int64_t>(1, 4096 / dim);
      c.pool().ParallelFor(x.size() / dim, grain, [&](int64_t begin, int64_t end) {
        std::vector<Entry<T>> lane(dim);
        for (int64_t l = begin; l < end; ++l) {
          const int64_t o = l / inner, i = l % inner;
          const T* in = x.data<T>() + o * dim * inner + i;
          for (int64_t d = 0; d < dim; ++d) lane[d] = {in[d * inner], d};
          if (largest_)
            Select(lane, k, [](const T& a, const T& b) { return Above(a, b); });
          else
            Select(lane, k, [](const T& a, const T& b) { return Above(b, a); });
          const int64_t at = o * k * inner + i;
          for (int64_t d = 0; d < k; ++d) {
            if (values) values->data<T>()[at + d * inner] = lane[d].value;
            if (indices) indices->data<int64_t>()[at + d * inner] = lane[d].index;
          }
        }
      });
    });
  }

 private:
  template <class T>
  struct Entry {
    T value;
    int64_t index;
  };

  // NaN is above everything, as in numpy's order.
  template <class T>
  static bool Above(T a, T b) {
    return a > b || (IsNan(a) && !IsNan(b));
  }

  // Brings the first k entries to the front, sorted; equal values in the order of their index.
  template <class T, class Before>
  static void Select(std::vector<Entry<T>>& lane, int64_t k, Before before) {
    const auto order = [&](const Entry<T>& a, const Entry<T>& b) {
      if (before(a.value, b.value)) return true;
      if (before(b.value, a.value)) return false;
      return a.index < b.index;
    };
    if (k == 1) {
      std::iter_swap(lane.begin(), std::min_element(lane.begin(), lane.end(), order));
    } else if (k <= static_cast<int64_t>(lane.size()) / 8) {
      std::partial_sort(lane.begin(), lane.begin() + k, lane.end(), order);
    } else {
      std::nth_element(lane.begin(), lane.begin() + (k - 1), lane.end(), order);
      std::sort(lane.begin(), lane.begin() + k, order);
    }
  }

  int64_t axis_;
  bool largest_;
};

class Unique : public Kernel {
 public:
  explicit Unique(const Attributes& a)
      : flat_(!a.Has("axis")), axis_(a.Int("axis", 0)), sorted_(a.Int("sorted", 1) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor x = flat_ ? c.input(0).Reshaped({c.input(0).size()}) : c.input(0);
    const int axis = NormalizeAxis(axis_, x.rank());
    DispatchComparable(x.dtype(),
                       [&](auto tag) { Run(c, x, axis, x.data<typename decltype(tag)::type>()); });
  }

 private:
  template <class T>
  static int Compare(T a, T b) {
    if (IsNan(a) || IsNan(b)) return int(IsNan(a)) - int(IsNan(b));
    return a < b ? -1 : a > b;
  }

  // Sorts the subtensors along `axis` by their flattened elements, stably, and numbers the groups.
  template <class T>
  void Run(KernelContext& c, const Tensor& x, int axis, const T* data) const {
    const int64_t n = x.dim(axis), inner = x.shape().Count(axis + 1, x.rank());
    const int64_t outer = x.shape().Count(0, axis);
    const auto compare = [&](int64_t a, int64_t b) {
      for (int64_t o = 0; o < outer; ++o) {
        const T* row = data + o * n * inner;
        for (int64_t i = 0; i < inner; ++i)
          if (const int order = Compare(row[a * inner + i], row[b * inner + i])) return order;
      }
      return 0;
    };
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
    std::vector<int64_t> first, counts, group(n);  // By group: first occurrence, size.
    for (int64_t i = 0; i < n; ++i) {
      if (i == 0 || compare(order[i - 1], order[i]) != 0) {
        first.push_back(order[i]);
        counts.push_back(0);
      }
      group[order[i]] = static_cast<int64_t>(first.size()) - 1;
      ++counts.back();
    }
    Write(c, x, axis, first, counts, group);
  }

  void Write(KernelContext& c, const Tensor& x, int axis, const std::vector<int64_t>& first,
             const std::vector<int64_t>& counts, const std::vector<int64_t>& group) const {
    const int64_t m = static_cast<int64_t>(first.size());
    std::vector<int64_t> rank(m), place(m);  // Groups in the order of output; its inverse.
    std::iota(rank.begin(), rank.end(), int64_t{0});
    if (!sorted_)
      std::sort(rank.begin(), rank.end(),
                [&](int64_t a, int64_t b) { return first[a] < first[b]; });
    for (int64_t i = 0; i < m; ++i) place[rank[i]] = i;

    Shape shape = x.shape();
    shape[axis] = m;
    const int64_t n = x.dim(axis);
    const int64_t run =
        x.shape().Count(axis + 1, x.rank()) * static_cast<int64_t>(ItemSize(x.dtype()));
    const char* src = x.data<char>();
    if (c.has_output(0)) {
      Tensor& y = c.Output(0, x.dtype(), shape);
      if (y.size() > 0)
        CopyRows(c.pool(), y.raw(), x.shape().Count(0, axis) * m, run,
                 [&](int64_t row) { return src + (row / m * n + first[rank[row % m]]) * run; });
    }
    const auto write = [&](int output, int64_t size, auto value) {
      if (!c.has_output(output)) return;
      int64_t* y = c.Output(output, DType::kInt64, {size}).data<int64_t>();
      for (int64_t i = 0; i < size; ++i) y[i] = value(i);
    };
    write(1, m, [&](int64_t i) { return first[rank[i]]; });
    write(2, n, [&](int64_t i) { return place[group[i]]; });
    write(3, m, [&](int64_t i) { return counts[rank[i]]; });
  }

  bool flat_;
  int64_t axis_;
  bool sorted_;
};

constexpr DTypeSet kComparable = kNumbers | kBools;
static const bool kSelects =
    RegisterFn("NonZero", NonZero).Types(kComparable) && Register<Compress>("Compress") &&
    Register<TopK>("TopK").Types(kNumbers) && Register<Unique>("Unique").Types(kComparable);

}  // namespace
}  // namespace toolkit
