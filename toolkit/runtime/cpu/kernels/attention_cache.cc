// The shape of what a cache with room holds: (cache, length of the past[, new keys]).
#include <algorithm>

#include "core/kernel.h"

namespace toolkit {
namespace {

class CacheShape : public Kernel {
 public:
  explicit CacheShape(const Attributes& a) : start_(a.Int("start", 0)), end_(a.Int("end", 4)) {}

  void Run(KernelContext& c) const override {
    const Tensor &cache = c.input(0), &length = c.input(1);
    TK_REQUIRE(cache.rank() == 4 && length.dtype() == DType::kInt64 && length.size() == 1,
               ErrorKind::kShape, "a cache of 4 dimensions and its int64 length are required, got ",
               cache.shape().ToString(), " and ", Name(length.dtype()), " ",
               length.shape().ToString());
    Shape shape = cache.shape();
    shape[2] = *length.data<int64_t>();
    if (const Tensor* fresh = c.optional_input(2)) {
      TK_REQUIRE(fresh->rank() == 3 || fresh->rank() == 4, ErrorKind::kShape,
                 "new keys must have 3 or 4 dimensions, got ", fresh->shape().ToString());
      shape[2] += fresh->dim(fresh->rank() == 3 ? 1 : 2);
    }
    const auto place = [](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + 4 : at, 0, 4); };
    const int64_t begin = place(start_), end = std::max(begin, place(end_));
    const Tensor& out = c.Output(0, DType::kInt64, {end - begin});
    std::copy(shape.begin() + begin, shape.begin() + end, out.data<int64_t>());
  }

 private:
  int64_t start_, end_;
};

static const bool kCacheShape =
    Register<CacheShape>("CacheShape").Domain("toolkit.fused").Types(kFloats);

}  // namespace
}  // namespace toolkit
