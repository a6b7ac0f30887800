// TensorScatter: a slice of a cache replaced, at a place of its own for each sample.
#include "kernels/movement.h"

namespace toolkit {
namespace {

class TensorScatter : public Kernel {
 public:
  explicit TensorScatter(const Attributes& a) : axis_(a.Int("axis", -2)) {
    const std::string mode = a.String("mode", "linear");
    TK_REQUIRE(mode == "linear" || mode == "circular", ErrorKind::kInvalidArgument,
               "attribute mode must be linear or circular, got ", mode);
    circular_ = mode == "circular";
  }

  // One pass over the cache where it is not updated in place, one over the update; parallel over
  // rows of the update.
  void Run(KernelContext& c) const override {
    const Tensor &cache = c.input(0), &update = c.input(1);
    const int axis = NormalizeAxis(axis_, cache.rank());
    TK_REQUIRE(axis > 0, ErrorKind::kInvalidArgument, "axis must not be the batch dimension, got ",
               axis_);
    Shape expected = cache.shape();
    if (update.rank() == cache.rank()) expected[axis] = update.dim(axis);
    const int64_t size = cache.dim(axis), length = expected[axis];
    TK_REQUIRE(update.dtype() == cache.dtype() && update.shape() == expected && length <= size,
               ErrorKind::kShape, "update must be ", Name(cache.dtype()),
               " of the cache's shape, and no longer along axis ", axis, ", got ",
               Name(update.dtype()), " ", update.shape().ToString(), " for a cache ",
               cache.shape().ToString());
    const std::vector<int64_t> first = FirstIndices(c, cache.dim(0), size, length);
    Tensor& y = c.Output(0, cache.dtype(), cache.shape());
    if (y.raw() != cache.raw())
      CopyRows(c.pool(), y.raw(), 1, static_cast<int64_t>(cache.bytes()),
               [&](int64_t) { return cache.data<char>(); });
    if (update.size() == 0) return;
    const int64_t run =
        cache.shape().Count(axis + 1, cache.rank()) * static_cast<int64_t>(ItemSize(cache.dtype()));
    const int64_t middle = cache.shape().Count(1, axis), rows = cache.dim(0) * middle * length;
    c.pool().ParallelFor(rows, std::max<int64_t>(1, kCopyGrain / run),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t r = begin; r < end; ++r) {
                             const int64_t prefix = r / length;
                             const int64_t at = (first[prefix / middle] + r % length) % size;
                             std::memcpy(y.data<char>() + (prefix * size + at) * run,
                                         update.data<char>() + r * run, static_cast<size_t>(run));
                           }
                         });
  }

 private:
  // Where each sample's update begins, in [0, size).
  std::vector<int64_t> FirstIndices(KernelContext& c, int64_t batch, int64_t size,
                                    int64_t length) const {
    if (!c.has_input(2)) return std::vector<int64_t>(static_cast<size_t>(batch), 0);
    std::vector<int64_t> first = ReadInts(c.input(2), "write_indices");
    TK_REQUIRE(static_cast<int64_t>(first.size()) == batch, ErrorKind::kShape,
               "write_indices must hold one index for each of ", batch, " samples, got ",
               first.size());
    for (int64_t& i : first) {
      if (circular_) {
        i = size ? ((i % size) + size) % size : 0;
        continue;
      }
      TK_REQUIRE(i >= 0 && i <= size - length, ErrorKind::kIndex, "write_indices must lie in [0, ",
                 size - length, "], got ", i);
      if (i == size) i = 0;  // Then nothing is written.
    }
    return first;
  }

  int64_t axis_;
  bool circular_;
};

static const bool kTensorScatter = Register<TensorScatter>("TensorScatter").Inplace(0, 0);

}  // namespace
}  // namespace toolkit
