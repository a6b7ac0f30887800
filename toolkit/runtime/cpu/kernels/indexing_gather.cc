// Gather, GatherElements, GatherND.
#include "kernels/indexing.h"
#include "kernels/movement.h"

namespace toolkit {

namespace {

template <class Fn>
decltype(auto) DispatchIndices(const Tensor& indices, Fn&& fn) {
  if (indices.dtype() == DType::kInt64) return fn(indices.data<int64_t>());
  TK_REQUIRE(indices.dtype() == DType::kInt32, ErrorKind::kDType,
             "indices must be int64 or int32, got ", Name(indices.dtype()));
  return fn(indices.data<int32_t>());
}

[[noreturn]] __attribute__((noinline)) void FailIndex(int64_t index, int64_t bound) {
  Fail(ErrorKind::kIndex, "indices must lie in [", -bound, ", ", bound - 1, "], got ", index);
}

inline int64_t Wrap(int64_t index, int64_t bound) {
  const int64_t at = index < 0 ? index + bound : index;
  if (static_cast<uint64_t>(at) >= static_cast<uint64_t>(bound)) [[unlikely]]
    FailIndex(index, bound);
  return at;
}

}  // namespace

const int64_t* NormalizeIndices(KernelContext& c, const Tensor& indices, int64_t bound) {
  const int64_t n = indices.size();
  int64_t* out = c.Scratch<int64_t>(n);
  DispatchIndices(indices, [&](const auto* in) {
    c.pool().ParallelFor(n, 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = Wrap(in[i], bound);
    });
  });
  return out;
}

const int64_t* TupleOffsets(KernelContext& c, const Tensor& indices, const Shape& shape,
                            int batch_dims) {
  const int rank = indices.rank(), batch = batch_dims;
  TK_REQUIRE(rank >= 1, ErrorKind::kShape, "indices must have rank 1 or more, got a scalar");
  TK_REQUIRE(batch >= 0 && batch < rank && batch <= shape.rank(), ErrorKind::kInvalidArgument,
             "batch_dims must lie below the ranks of data and indices, got ", batch);
  const int64_t depth = indices.dim(rank - 1);
  TK_REQUIRE(depth <= shape.rank() - batch, ErrorKind::kShape,
             "the last axis of indices must address at most ", shape.rank() - batch,
             " axes of data, got ", depth);
  for (int i = 0; i < batch; ++i)
    TK_REQUIRE(indices.dim(i) == shape[i], ErrorKind::kShape,
               "data and indices must agree in the batch dimensions, got ", shape.ToString(),
               " and ", indices.shape().ToString());
  const int d = static_cast<int>(depth);
  const int64_t tuples = indices.shape().Count(0, rank - 1);
  const int64_t per_batch = indices.shape().Count(batch, rank - 1);
  const int64_t batch_rows = shape.Count(batch, batch + d);
  int64_t* offsets = c.Scratch<int64_t>(tuples);
  DispatchIndices(indices, [&](const auto* in) {
    c.pool().ParallelFor(tuples, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        int64_t row = 0;
        for (int k = 0; k < d; ++k)
          row = row * shape[batch + k] + Wrap(in[t * d + k], shape[batch + k]);
        offsets[t] = t / per_batch * batch_rows + row;
      }
    });
  });
  return offsets;
}

namespace {

// The offsets in `data` of every coordinate in dimensions [from, to) of `indices`.
const int64_t* OffsetTable(KernelContext& c, const Shape& data, const Shape& indices, int from,
                           int to) {
  const Shape strides = StridesOf(data);
  const int64_t n = indices.Count(from, to);
  int64_t* table = c.Scratch<int64_t>(n);
  for (int64_t i = 0; i < n; ++i) {
    int64_t offset = 0, rest = i;
    for (int d = to - 1; d >= from; --d) {
      offset += rest % indices[d] * strides[d];
      rest /= indices[d];
    }
    table[i] = offset;
  }
  return table;
}

}  // namespace

Lanes LanesOf(KernelContext& c, const Shape& data, const Shape& indices, int64_t axis) {
  const int rank = data.rank(), a = NormalizeAxis(axis, rank);
  bool fits = indices.rank() == rank;
  for (int i = 0; fits && i < rank; ++i) fits = i == a || indices[i] <= data[i];
  TK_REQUIRE(fits, ErrorKind::kShape, "indices must have data's rank and, but for axis ", a,
             ", at most its dimensions, got ", indices.ToString(), " and ", data.ToString());
  Lanes lanes;
  lanes.axis = a;
  lanes.outer = indices.Count(0, a);
  lanes.length = indices[a];
  lanes.inner = indices.Count(a + 1, rank);
  lanes.stride = data.Count(a + 1, rank);
  lanes.outer_offset = OffsetTable(c, data, indices, 0, a);
  lanes.inner_offset = OffsetTable(c, data, indices, a + 1, rank);
  return lanes;
}

namespace {

class Gather : public Kernel {
 public:
  explicit Gather(const Attributes& a) : axis_(a.Int("axis", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& indices = c.input(1);
    const int axis = NormalizeAxis(axis_, x.rank());
    const int64_t* index = NormalizeIndices(c, indices, x.dim(axis));
    Shape shape;
    for (int i = 0; i < axis; ++i) shape.push_back(x.dim(i));
    for (int64_t d : indices.shape()) shape.push_back(d);
    for (int i = axis + 1; i < x.rank(); ++i) shape.push_back(x.dim(i));
    Tensor& y = c.Output(0, x.dtype(), shape);
    if (y.size() == 0) return;
    const int64_t run =
        x.shape().Count(axis + 1, x.rank()) * static_cast<int64_t>(ItemSize(x.dtype()));
    const int64_t n = indices.size(), block = x.dim(axis) * run;
    const int64_t outer = x.shape().Count(0, axis);
    const char* src = x.data<char>();
    if (outer == 1)
      CopyRows(c.pool(), y.raw(), n, run, [&](int64_t row) { return src + index[row] * run; });
    else
      CopyRows(c.pool(), y.raw(), outer * n, run,
               [&](int64_t row) { return src + row / n * block + index[row % n] * run; });
  }

 private:
  int64_t axis_;
};

class GatherElements : public Kernel {
 public:
  explicit GatherElements(const Attributes& a) : axis_(a.Int("axis", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& indices = c.input(1);
    const Lanes lanes = LanesOf(c, x.shape(), indices.shape(), axis_);
    Tensor& y = c.Output(0, x.dtype(), indices.shape());
    DispatchIndices(indices, [&](const auto* index) {
      DispatchBySize(x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        Take(c.pool(), lanes, index, x.dim(lanes.axis), x.data<T>(), y.data<T>());
      });
    });
  }

 private:
  // Rows of `inner` elements; along the last axis these have one, and l is the loop that counts.
  template <class I, class T>
  static void Take(ThreadPool& pool, const Lanes& lanes, const I* index, int64_t bound, const T* x,
                   T* y) {
    const int64_t length = lanes.length, n = lanes.inner;
    const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, n));
    pool.ParallelFor(lanes.outer * length, grain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t o = begin / length, stop = std::min(end, (o + 1) * length);
        const T* base = x + lanes.outer_offset[o];
        if (n == 1) {
          for (int64_t k = begin; k < stop; ++k) y[k] = base[Wrap(index[k], bound) * lanes.stride];
        } else {
          for (int64_t k = begin * n; k < stop * n; k += n)
            for (int64_t i = 0; i < n; ++i)
              y[k + i] = base[Wrap(index[k + i], bound) * lanes.stride + lanes.inner_offset[i]];
        }
        begin = stop;
      }
    });
  }

  int64_t axis_;
};

class GatherND : public Kernel {
 public:
  explicit GatherND(const Attributes& a) : batch_dims_(a.Int("batch_dims", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor& indices = c.input(1);
    TK_REQUIRE(batch_dims_ >= 0 && batch_dims_ < kMaxRank, ErrorKind::kInvalidArgument,
               "batch_dims must lie in [0, ", kMaxRank, "), got ", batch_dims_);
    const int batch = static_cast<int>(batch_dims_);
    const int64_t* offset = TupleOffsets(c, indices, x.shape(), batch);
    Shape shape;
    for (int i = 0; i + 1 < indices.rank(); ++i) shape.push_back(indices.dim(i));
    const int below = batch + static_cast<int>(indices.dim(indices.rank() - 1));
    for (int i = below; i < x.rank(); ++i) shape.push_back(x.dim(i));
    Tensor& y = c.Output(0, x.dtype(), shape);
    if (y.size() == 0) return;
    const int64_t run =
        x.shape().Count(below, x.rank()) * static_cast<int64_t>(ItemSize(x.dtype()));
    const int64_t rows = indices.shape().Count(0, indices.rank() - 1);
    const char* src = x.data<char>();
    CopyRows(c.pool(), y.raw(), rows, run, [&](int64_t row) { return src + offset[row] * run; });
  }

 private:
  int64_t batch_dims_;
};

static const bool kGathers = Register<Gather>("Gather") &&
                             Register<GatherElements>("GatherElements") &&
                             Register<GatherND>("GatherND");

}  // namespace
}  // namespace toolkit
