// Operators whose output size depends on values: NonZero, Compress, Unique; and TopK.
#include <algorithm>
#include <numeric>
#include <optional>

#include "core/strings.h"
#include "kernels/half.h"
#include "kernels/indexing.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

// Ordered by the real part, then the imaginary one, as in numpy; NaN if either part is.
template <class T>
struct Complex {
  T re, im;
  Complex() = default;
  explicit Complex(T real) : re(real), im(0) {}
  bool operator!=(const Complex& o) const { return re != o.re || im != o.im; }
  bool operator<(const Complex& o) const { return re < o.re || (re == o.re && im < o.im); }
  bool operator>(const Complex& o) const { return o < *this; }
};

// Strings by their bytes, which is the order of code points; equal ones have equal references.
struct Text {
  uint64_t reference;
  Text() = default;
  explicit Text(uint64_t r) : reference(r) {}
  const std::string& get() const { return StringTable::Get(reference); }
  bool operator!=(const Text& o) const { return reference != o.reference; }
  bool operator<(const Text& o) const { return *this != o && get() < o.get(); }
  bool operator>(const Text& o) const { return o < *this; }
};

// Calls fn with the C++ type of a comparable element.
template <class Fn>
decltype(auto) DispatchComparable(DType t, Fn&& fn) {
  if (t == DType::kBool) return fn(TypeTag<uint8_t>{});
  return DispatchNumbers(t, fn);
}
template <class Fn>
decltype(auto) DispatchEvery(DType t, Fn&& fn) {
  if (t == DType::kString) return fn(TypeTag<Text>{});
  if (t == DType::kComplex64) return fn(TypeTag<Complex<float>>{});
  if (t == DType::kComplex128) return fn(TypeTag<Complex<double>>{});
  return DispatchComparable(t, fn);
}

template <class T>
bool IsNan(const T& x) {
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
      const int64_t end = std::min(n, (b + 1) * kBlock);
      for (int64_t i = b * kBlock; i < end && out < positions + first[b + 1]; ++i) {
        *out = i;  // Without a branch on the value; the guard keeps it within this block's part.
        out += x[i] != T(0);
      }
    }
  });
  *count = first[blocks];
  return positions;
}

// The coordinates of ascending flat positions, one row of y a dimension.
void Coordinates(const Shape& shape, const int64_t* flat, int64_t begin, int64_t end, int64_t count,
                 int64_t* y) {
  const int rank = shape.rank();
  if (rank == 0) return;
  const int64_t width = shape[rank - 1];
  int64_t row_end = 0, coordinate[kMaxRank];  // Of the row (the last dimension) that we are in.
  for (int64_t i = begin; i < end; ++i) {
    if (flat[i] >= row_end) {
      int64_t row = flat[i] / width;
      row_end = (row + 1) * width;
      for (int d = rank - 2; d >= 0; --d) {
        coordinate[d] = row % shape[d];
        row /= shape[d];
      }
    }
    for (int d = 0; d + 1 < rank; ++d) y[d * count + i] = coordinate[d];
    y[(rank - 1) * count + i] = flat[i] - (row_end - width);
  }
}

void NonZero(KernelContext& c) {
  const Tensor x = Widened(c, c.input(0));
  DispatchEvery(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    int64_t count = 0;
    const int64_t* flat = FlatNonZero(c, x.data<T>(), x.size(), &count);
    int64_t* y = c.Output(0, DType::kInt64, {x.rank(), count}).template data<int64_t>();
    c.pool().ParallelFor(count, 4096, [&](int64_t begin, int64_t end) {
      Coordinates(x.shape(), flat, begin, end, count, y);
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
    const Tensor x = Widened(c, c.input(0));
    const int axis = NormalizeAxis(axis_, x.rank());
    const int64_t dim = x.dim(axis), k = ReadInt(c.input(1), "K");
    TK_REQUIRE(k >= 0 && k <= dim, ErrorKind::kInvalidArgument, "K must lie in [0, ", dim,
               "], the size of axis ", axis, ", got ", k);
    Shape shape = x.shape();
    shape[axis] = k;
    std::optional<WideOutput> values;
    if (c.has_output(0)) values.emplace(c, 0, c.input(0).dtype(), shape);
    Tensor* indices = c.has_output(1) ? &c.Output(1, DType::kInt64, shape) : nullptr;
    if (shape.Count() == 0) return;
    const int64_t inner = shape.Count(axis + 1, shape.rank());
    DispatchComparable(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t grain = std::max<int64_t>(1, 4096 / dim);
      c.pool().ParallelFor(x.size() / dim, grain, [&](int64_t begin, int64_t end) {
        std::vector<Entry<T>> best;
        for (int64_t l = begin; l < end; ++l) {
          const int64_t o = l / inner, i = l % inner;
          const T* in = x.data<T>() + o * dim * inner + i;
          if (largest_)
            Select(in, inner, dim, k, best, [](T a, T b) { return Above(a, b); });
          else
            Select(in, inner, dim, k, best, [](T a, T b) { return Above(b, a); });
          const int64_t at = o * k * inner + i;
          for (int64_t d = 0; d < k; ++d) {
            if (values) values->tensor().template data<T>()[at + d * inner] = best[d].value;
            if (indices) indices->data<int64_t>()[at + d * inner] = best[d].index;
          }
        }
      });
    });
    if (values) values->Finish();
  }

 private:
  template <class T>
  struct Entry {
    T value;
    int64_t index;
  };

  // NaN is above everything, as in numpy's order. The first test settles nearly every call.
  template <class T>
  static bool Above(T a, T b) {
    if (a <= b) return false;
    return a > b || (IsNan(a) && !IsNan(b));
  }

  // The first k of a lane in order, equal values by index. Most values fail the one comparison with
  // the worst of the k best so far; a later one never displaces its equal.
  template <class T, class Before>
  static void Select(const T* x, int64_t step, int64_t n, int64_t k, std::vector<Entry<T>>& best,
                     Before before) {
    if (k == 1) {
      int64_t at = 0;
      T top = x[0];
      for (int64_t d = 1; d < n; ++d) {
        const T v = x[d * step];
        if (before(v, top)) top = v, at = d;
      }
      return best.assign(1, {top, at});
    }
    const auto order = [&](const Entry<T>& a, const Entry<T>& b) {
      if (before(a.value, b.value)) return true;
      if (before(b.value, a.value)) return false;
      return a.index < b.index;
    };
    best.clear();
    if (k > n / 4) {
      for (int64_t d = 0; d < n; ++d) best.push_back({x[d * step], d});
      std::nth_element(best.begin(), best.begin() + (k - 1), best.end(), order);
      std::sort(best.begin(), best.begin() + k, order);
      return;
    }
    for (int64_t d = 0; d < k; ++d) best.push_back({x[d * step], d});
    std::make_heap(best.begin(), best.end(), order);  // The worst in front.
    T worst = best.front().value;
    for (int64_t d = k; d < n; ++d) {
      const T v = x[d * step];
      if (!before(v, worst)) continue;
      std::pop_heap(best.begin(), best.end(), order);
      best.back() = {v, d};
      std::push_heap(best.begin(), best.end(), order);
      worst = best.front().value;
    }
    std::sort_heap(best.begin(), best.end(), order);
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
    const Tensor wide = Widened(c, x);
    DispatchEvery(wide.dtype(),
                  [&](auto tag) { Run(c, x, axis, wide.data<typename decltype(tag)::type>()); });
  }

 private:
  template <class T>
  static int Compare(const T& a, const T& b) {
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
    if (outer * inner == 1)
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return data[a] < data[b] || (IsNan(data[b]) && !IsNan(data[a]));
      });
    else
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

constexpr DTypeSet kComparable = kAnyNumber | kBools | kComplexes | kStrings;
static const bool kSelects =
    RegisterFn("NonZero", NonZero).Types(kComparable) && Register<Compress>("Compress") &&
    Register<TopK>("TopK").Types(kAnyNumber) && Register<Unique>("Unique").Types(kComparable);

}  // namespace
}  // namespace toolkit
