// LayerNormalization, RMSNormalization and the gradient. A row is read twice for its statistics
// and once for the result, all but the first time from cache. Parallel over rows.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/normalization.h"
#include "kernels/reduce.h"

namespace toolkit {
namespace {

constexpr int64_t kRowGrain = 8192;  // Elements.

// Rows of n elements: the dimensions before the axis by those from it on.
struct Rows {
  Rows(const Shape& shape, int64_t axis_attribute)
      : axis(NormalizeAxis(axis_attribute, shape.rank())),
        count(shape.Count(0, axis)),
        n(shape.Count(axis, shape.rank())),
        grain(std::max<int64_t>(1, kRowGrain / std::max<int64_t>(n, 1))) {
    for (int i = axis; i < shape.rank(); ++i) normalized.push_back(shape[i]);
  }
  int axis;
  int64_t count, n, grain;
  Shape normalized;
};

// y = y scale + bias for operands that broadcast in any way.
void ApplyScale(KernelContext& c, const Tensor& y, const Tensor* scale, const Tensor* bias) {
  ArithmeticProgram p(y.dtype());
  auto v = p.Read(y);
  if (scale) {
    p.Binary(BinaryOp::kMul, p.Result(), v, p.Read(*scale));
    v = p.Result();
  }
  if (bias) p.Binary(BinaryOp::kAdd, p.Result(), v, p.Read(*bias));
  p.Run(c.pool(), y, kCheapGrain);
}

bool BroadcastsTo(const Shape& from, const Shape& to) {
  const int extra = to.rank() - from.rank();
  for (int i = 0; i < from.rank(); ++i)
    if (extra < 0 || (from[i] != 1 && from[i] != to[i + extra])) return false;
  return true;
}

bool FitsRows(const Tensor* t, const Rows& rows) {
  return !t || (t->size() == rows.n && t->rank() >= rows.normalized.rank() &&
                std::equal(rows.normalized.begin(), rows.normalized.end(),
                           t->shape().end() - rows.normalized.rank()));
}

class LayerNormKernel : public Kernel {
 public:
  LayerNormKernel(const Attributes& a, bool rms)
      : axis_(a.Int("axis", -1)), epsilon_(a.Float("epsilon", 1e-5f)), rms_(rms) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &x = c.input(0), &scale = c.input(1);
    const Tensor* bias = rms_ ? nullptr : c.optional_input(2);
    const Rows rows(x.shape(), axis_);
    for (const Tensor* t : {&scale, bias}) {
      if (!t) continue;
      RequireSameDType(x, *t);
      TK_REQUIRE(BroadcastsTo(t->shape(), x.shape()), ErrorKind::kShape,
                 "scale and bias must broadcast to ", x.shape().ToString(), ", got ",
                 t->shape().ToString());
    }
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    Shape kept = x.shape();
    for (int i = rows.axis; i < kept.rank(); ++i) kept[i] = 1;
    float* means = !rms_ && c.has_output(1)
                       ? c.Output(1, DType::kFloat, kept).template data<float>()
                       : nullptr;
    float* inverses = !rms_ && c.has_output(2)
                          ? c.Output(2, DType::kFloat, kept).template data<float>()
                          : nullptr;
    const bool fits = FitsRows(&scale, rows) && FitsRows(bias, rows);
    const T* s = fits ? scale.data<T>() : nullptr;
    const T* b = fits && bias ? bias->data<T>() : nullptr;
    const auto& fn = Normalizations<T>();
    c.pool().ParallelFor(rows.count, rows.grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = x.data<T>() + i * rows.n;
        double mean = 0, variance;
        if (rms_)
          variance = fn.sum_square(row, rows.n, T(0)) / static_cast<double>(rows.n);
        else
          fn.moments(row, rows.n, &mean, &variance);
        const double inverse = 1 / std::sqrt(variance + epsilon_);
        fn.affine_each(y.data<T>() + i * rows.n, row, rows.n, static_cast<T>(mean),
                       static_cast<T>(inverse), s, b);
        if (means) means[i] = static_cast<float>(mean);
        if (inverses) inverses[i] = static_cast<float>(inverse);
      }
    });
    if (!fits) ApplyScale(c, y, &scale, bias);
  }
  int64_t axis_;
  double epsilon_;
  bool rms_;
};

// dx = rstd (g - mean(g) - h mean(g h)) with g = dy scale, h = (x - mean) rstd;
// dscale = sum(dy h), dbias = sum(dy), added up over fixed blocks of rows.
class LayerNormGradKernel : public Kernel {
 public:
  explicit LayerNormGradKernel(const Attributes& a)
      : axis_(a.Int("axis", -1)), epsilon_(a.Float("epsilon", 1e-5f)) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &x = c.input(0), &scale = c.input(1), &dy = c.input(2);
    const Rows rows(x.shape(), axis_);
    RequireSameDType(x, scale);
    RequireSameDType(x, dy);
    TK_REQUIRE(dy.shape() == x.shape(), ErrorKind::kShape, "dy must have the shape of x ",
               x.shape().ToString(), ", got ", dy.shape().ToString());
    TK_REQUIRE(scale.shape() == rows.normalized, ErrorKind::kShape, "scale must have shape ",
               rows.normalized.ToString(), ", got ", scale.shape().ToString());
    const int64_t n = rows.n;
    const Shape vector = scale.shape();
    // Without an output for dx its rows are still computed, into one that is thrown away.
    T* dx = c.has_output(0) ? c.Output(0, x.dtype(), x.shape()).template data<T>()
                            : c.Scratch<T>(x.size());
    T* results[2] = {nullptr, nullptr};
    for (int i : {1, 2})
      if (c.has_output(i)) results[i - 1] = c.Output(i, x.dtype(), vector).template data<T>();
    const int64_t block = std::max<int64_t>(16, kRowGrain / std::max<int64_t>(n, 1));
    const int64_t blocks = (rows.count + block - 1) / block;
    T* parts[2] = {nullptr, nullptr};
    for (int i : {0, 1}) {
      if (!results[i]) continue;
      parts[i] = c.Scratch<T>(blocks * n);
      std::memset(static_cast<void*>(parts[i]), 0, static_cast<size_t>(blocks * n) * sizeof(T));
    }
    const auto& fn = Normalizations<T>();
    c.pool().ParallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * block; i < std::min(end * block, rows.count); ++i) {
        const T* row = x.data<T>() + i * n;
        double mean, variance;
        fn.moments(row, n, &mean, &variance);
        const int64_t part = i / block * n;
        fn.layer_norm_grad(dx + i * n, parts[0] ? parts[0] + part : nullptr,
                           parts[1] ? parts[1] + part : nullptr, row, scale.data<T>(),
                           dy.data<T>() + i * n, n, static_cast<T>(mean),
                           static_cast<T>(1 / std::sqrt(variance + epsilon_)));
      }
    });
    const ReducePlan plan(Shape{blocks, n}, {true, false});
    for (int i : {0, 1})
      if (results[i]) Reduce(c, ReduceOp::kSum, plan, parts[i], x.dtype(), results[i]);
  }
  int64_t axis_;
  double epsilon_;
};

static const bool kLayerNorm[] = {
    Register<LayerNormKernel>("LayerNormalization", false)
        .Types(kFloats)
        .Widen({0, -1, -1})
        .Inplace(0, 0),
    Register<LayerNormKernel>("RMSNormalization", true).Types(kFloats).Widen().Inplace(0, 0),
    Register<LayerNormGradKernel>("LayerNormalizationGrad")
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen(),
};

}  // namespace
}  // namespace toolkit
