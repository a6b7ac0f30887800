// RotaryEmbedding: pairs of a head's elements turn by the angle of the row's position. One pass,
// parallel over rows.
#include <algorithm>

#include "core/kernel.h"
#include "simd/attention.h"

namespace toolkit {
namespace {

template <class T>
const RotaryFunctions<T>& RotaryOf() {
  if constexpr (sizeof(T) == 4)
    return AttentionSimd().rotary_f32;
  else
    return AttentionSimd().rotary_f64;
}

// X as (B, H, L, D) or (B, L, H, D).
struct RotaryShape {
  RotaryShape(const Shape& x, int64_t num_heads, int64_t rotary_dim) {
    TK_REQUIRE(x.rank() == 3 || x.rank() == 4, ErrorKind::kShape,
               "X must have 3 or 4 dimensions, got ", x.ToString());
    packed = x.rank() == 3;
    TK_REQUIRE(!packed || (num_heads > 0 && x[2] % num_heads == 0), ErrorKind::kInvalidArgument,
               "num_heads above 0 that divides X's last dimension is required, got ", num_heads,
               " for ", x.ToString());
    batch = x[0];
    heads = packed ? num_heads : x[1];
    length = packed ? x[1] : x[2];
    head = packed ? x[2] / num_heads : x[3];
    rotated = rotary_dim ? rotary_dim : head;
    TK_REQUIRE(rotated >= 0 && rotated <= head && rotated % 2 == 0, ErrorKind::kInvalidArgument,
               "an even rotary_embedding_dim of at most the head size ", head, " is required, got ",
               rotated);
  }
  bool packed;
  int64_t batch, heads, length, head, rotated;
};

class RotaryEmbedding : public Kernel {
 public:
  explicit RotaryEmbedding(const Attributes& a)
      : heads_(a.Int("num_heads", 0)),
        rotary_dim_(a.Int("rotary_embedding_dim", 0)),
        interleaved_(a.Int("interleaved", 0) != 0) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &x = c.input(0), &cos = c.input(1), &sin = c.input(2);
    const RotaryShape s(x.shape(), heads_, rotary_dim_);
    const int64_t* positions = Positions(c, s, cos, sin);
    const int64_t half = s.rotated / 2;
    T* y = c.Output(0, x.dtype(), x.shape()).template data<T>();
    const auto rotate = interleaved_ ? RotaryOf<T>().neighbours : RotaryOf<T>().halves;
    const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(s.head, 1));
    c.pool().ParallelFor(s.batch * s.heads * s.length, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / (s.heads * s.length);
        const int64_t row = s.packed ? i / s.heads % s.length : i % s.length;
        const int64_t at = b * s.length + row;
        const int64_t angle = (positions ? positions[at] : at) * half;
        const T* from = x.data<T>() + i * s.head;
        T* to = y + i * s.head;
        rotate(to, from, cos.data<T>() + angle, sin.data<T>() + angle, half);
        std::copy(from + s.rotated, from + s.head, to + s.rotated);
      }
    });
  }

  // Checks the caches; the rows of them to take, null for one after the other.
  static const int64_t* Positions(KernelContext& c, const RotaryShape& s, const Tensor& cos,
                                  const Tensor& sin) {
    for (const Tensor* t : {&cos, &sin})
      TK_REQUIRE(t->dtype() == c.input(0).dtype() && t->shape() == cos.shape(), ErrorKind::kShape,
                 "cos_cache and sin_cache must have X's dtype and one shape, got ",
                 cos.shape().ToString(), " and ", sin.shape().ToString());
    const Tensor* ids = c.optional_input(3);
    const int64_t half = s.rotated / 2;
    if (!ids) {
      TK_REQUIRE(cos.shape() == Shape({s.batch, s.length, half}), ErrorKind::kShape,
                 "cos_cache must be ", Shape({s.batch, s.length, half}).ToString(),
                 " without position_ids, got ", cos.shape().ToString());
      return nullptr;
    }
    TK_REQUIRE(cos.rank() == 2 && cos.dim(1) == half, ErrorKind::kShape,
               "cos_cache must be (positions, ", half, ") with position_ids, got ",
               cos.shape().ToString());
    TK_REQUIRE(ids->dtype() == DType::kInt64 && ids->shape() == Shape({s.batch, s.length}),
               ErrorKind::kShape, "position_ids must be int64 ",
               Shape({s.batch, s.length}).ToString(), ", got ", Name(ids->dtype()), " ",
               ids->shape().ToString());
    const int64_t* p = ids->data<int64_t>();
    for (int64_t i = 0; i < ids->size(); ++i)
      TK_REQUIRE(p[i] >= 0 && p[i] < cos.dim(0), ErrorKind::kIndex, "position_ids must lie in [0, ",
                 cos.dim(0), "), got ", p[i]);
    return p;
  }

  int64_t heads_, rotary_dim_;
  bool interleaved_;
};

static const bool kRotary = Register<RotaryEmbedding>("RotaryEmbedding").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
