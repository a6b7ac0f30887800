// InstanceNormalization, GroupNormalization, LpNormalization, MeanVarianceNormalization, LRN.
#include "kernels/normalization.h"

#include <algorithm>
#include <cmath>

#include "kernels/reduce.h"

namespace toolkit {
namespace {

constexpr int64_t kRowGrain = 8192;  // Elements.

// Groups of channels of one sample are rows: two passes for the moments, one for the result.
// InstanceNormalization has one channel a group. Parallel over groups.
class GroupNormKernel : public Kernel {
 public:
  GroupNormKernel(const Attributes& a, bool instance)
      : epsilon_(a.Float("epsilon", 1e-5f)), groups_(a.Int("num_groups", 0)), instance_(instance) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &x = c.input(0), &scale = c.input(1), &bias = c.input(2);
    TK_REQUIRE(x.rank() >= 2, ErrorKind::kShape, "x must have shape (N, C, ...), got ",
               x.shape().ToString());
    const int64_t channels = x.dim(1), d = x.shape().Count(2, x.rank());
    for (const Tensor* t : {&scale, &bias}) {
      RequireSameDType(x, *t);
      TK_REQUIRE(t->shape() == Shape({channels}), ErrorKind::kShape,
                 "scale and bias must have shape (", channels, ",), got ", t->shape().ToString());
    }
    const int64_t groups = instance_ ? channels : groups_;
    TK_REQUIRE(instance_ || (groups > 0 && channels % groups == 0), ErrorKind::kInvalidArgument,
               "num_groups must divide the ", channels, " channels, got ", groups);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    if (x.size() == 0) return;
    const int64_t size = channels / groups, n = size * d;
    const auto& fn = Normalizations<T>();
    c.pool().ParallelFor(
        x.dim(0) * groups, std::max<int64_t>(1, kRowGrain / n), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            double mean, variance;
            fn.moments(x.data<T>() + i * n, n, &mean, &variance);
            const double inverse = 1 / std::sqrt(variance + epsilon_);
            for (int64_t k = 0; k < size; ++k) {
              const int64_t channel = i % groups * size + k, at = i * n + k * d;
              fn.affine(y.data<T>() + at, x.data<T>() + at, d, static_cast<T>(mean),
                        static_cast<T>(inverse * static_cast<double>(scale.data<T>()[channel])),
                        bias.data<T>()[channel]);
            }
          }
        });
  }
  double epsilon_;
  int64_t groups_;
  bool instance_;
};

// The shape with 1 in place of each reduced dimension.
Shape Kept(const Shape& shape, const std::vector<bool>& mask) {
  Shape kept = shape;
  for (int i = 0; i < shape.rank(); ++i)
    if (mask[i]) kept[i] = 1;
  return kept;
}

// y = x op operand, operand broadcasting.
void Apply(KernelContext& c, BinaryOp op, const Tensor& y, const Tensor& x, const Tensor& operand) {
  ArithmeticProgram p(x.dtype());
  const auto a = p.Read(x), b = p.Read(operand);
  p.Binary(op, p.Result(), a, b);
  p.Run(c.pool(), y, kCheapGrain);
}

// x / ||x||; a zero vector stays zero. Two passes.
class LpNormKernel : public Kernel {
 public:
  explicit LpNormKernel(const Attributes& a) : axis_(a.Int("axis", -1)), p_(a.Int("p", 2)) {
    TK_REQUIRE(p_ == 1 || p_ == 2, ErrorKind::kInvalidArgument,
               "attribute 'p' must be 1 or 2, got ", p_);
  }
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    std::vector<bool> mask(x.rank(), false);
    mask[NormalizeAxis(axis_, x.rank())] = true;
    const ReducePlan plan(x.shape(), mask);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* norm = c.Scratch<T>(plan.outputs);
      Reduce(c, p_ == 1 ? ReduceOp::kSumAbs : ReduceOp::kSumSquare, plan, x.raw(), x.dtype(), norm);
      for (int64_t i = 0; i < plan.outputs; ++i) {
        if (p_ == 2) norm[i] = std::sqrt(norm[i]);
        if (norm[i] == T(0)) norm[i] = T(1);
      }
      Apply(c, BinaryOp::kDiv, y, x, Tensor(x.dtype(), Kept(x.shape(), mask), norm));
    });
  }

 private:
  int64_t axis_, p_;
};

// (x - mean) / (sqrt(variance) + 1e-9) over `axes`. Four passes.
class MeanVarianceKernel : public Kernel {
 public:
  explicit MeanVarianceKernel(const Attributes& a) : axes_(a.Ints("axes", {0, 2, 3})) {}
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const auto mask = AxesMask(axes_.data(), static_cast<int64_t>(axes_.size()), x.rank());
    const ReducePlan plan(x.shape(), mask);
    const Shape kept = Kept(x.shape(), mask);
    const auto count = static_cast<double>(plan.count);
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* statistic = c.Scratch<T>(plan.outputs);
      const Tensor operand(x.dtype(), kept, statistic);
      Reduce(c, ReduceOp::kSum, plan, x.raw(), x.dtype(), statistic, count);
      Apply(c, BinaryOp::kSub, y, x, operand);
      Reduce(c, ReduceOp::kSumSquare, plan, y.raw(), x.dtype(), statistic, count);
      for (int64_t i = 0; i < plan.outputs; ++i)
        statistic[i] = std::sqrt(statistic[i]) + static_cast<T>(1e-9);
      Apply(c, BinaryOp::kDiv, y, y, operand);
    });
  }

 private:
  std::vector<int64_t> axes_;
};

// x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta.
// Parallel over samples and tiles of positions.
class LrnKernel : public Kernel {
 public:
  explicit LrnKernel(const Attributes& a)
      : alpha_(a.Float("alpha", 1e-4f)),
        beta_(a.Float("beta", 0.75)),
        bias_(a.Float("bias", 1)),
        size_(a.Int("size", 0)) {
    TK_REQUIRE(size_ > 0, ErrorKind::kInvalidArgument, "attribute 'size' must be positive, got ",
               size_);
  }
  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() >= 2, ErrorKind::kShape, "x must have shape (N, C, ...), got ",
               x.shape().ToString());
    const Tensor& y = c.Output(0, x.dtype(), x.shape());
    if (x.size() == 0) return;
    const int64_t channels = x.dim(1), d = x.shape().Count(2, x.rank());
    const int64_t tiles = (d + kTile - 1) / kTile;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(x.dim(0) * tiles, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t at = i % tiles * kTile, offset = i / tiles * channels * d + at;
          Tile(y.data<T>() + offset, x.data<T>() + offset, channels, std::min(kTile, d - at), d);
        }
      });
    });
  }

 private:
  static constexpr int64_t kTile = 256;
  template <class T>
  void Tile(T* y, const T* x, int64_t channels, int64_t m, int64_t stride) const {
    const BinaryFn pow = FunctionOf(BinaryOp::kPow, ElementOf(DTypeOf<T>::kValue));
    const T exponent = static_cast<T>(beta_);
    const T factor = static_cast<T>(alpha_ / static_cast<double>(size_));
    for (int64_t k = 0; k < channels; ++k) {
      const int64_t low = std::max<int64_t>(0, k - (size_ - 1) / 2);
      const int64_t high = std::min(channels - 1, k + size_ / 2);
      T sum[kTile] = {};
      for (int64_t q = low; q <= high; ++q)
        for (int64_t j = 0; j < m; ++j) sum[j] += x[q * stride + j] * x[q * stride + j];
      for (int64_t j = 0; j < m; ++j) sum[j] = static_cast<T>(bias_) + factor * sum[j];
      pow(sum, sum, &exponent, m, 1, 0);
      for (int64_t j = 0; j < m; ++j) y[k * stride + j] = x[k * stride + j] / sum[j];
    }
  }
  double alpha_, beta_, bias_;
  int64_t size_;
};

static const bool kNormalizations[] = {
    Register<GroupNormKernel>("InstanceNormalization", true).Types(kFloats).Widen().Inplace(0, 0),
    Register<GroupNormKernel>("GroupNormalization", false).Types(kFloats).Widen().Inplace(0, 0),
    Register<LpNormKernel>("LpNormalization").Types(kFloats).Widen().Inplace(0, 0),
    Register<MeanVarianceKernel>("MeanVarianceNormalization").Types(kFloats).Widen().Inplace(0, 0),
    Register<LrnKernel>("LRN").Types(kFloats).Widen(),
};

}  // namespace
}  // namespace toolkit
