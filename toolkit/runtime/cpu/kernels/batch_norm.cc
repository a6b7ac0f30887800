// BatchNormalization in inference and training, BatchNormTraining, and the gradient.
// x is [N, C, D]. With long spans (D) a unit of work is one span; with short ones the rows of
// C D elements are walked as columns. Statistics: one pass over spans, or two over columns (mean,
// squares around it), as partial sums of fixed blocks, added up in double. One pass more for the
// result.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/normalization.h"
#include "kernels/reduce.h"

namespace toolkit {
namespace {

constexpr int64_t kSpanGrain = 16384;  // Elements.
constexpr int64_t kLongSpan = 8;

struct Channels {
  explicit Channels(const Shape& shape)
      : n(shape.rank() > 0 ? shape[0] : 1),
        c(shape.rank() > 1 ? shape[1] : 1),
        d(shape.rank() > 2 ? shape.Count(2, shape.rank()) : 1) {}
  int64_t count() const { return n * d; }  // Elements of a channel.
  int64_t width() const { return c * d; }  // Elements of a sample.
  int64_t n, c, d;
};

// One value a channel, of the input's or another float type.
const double* ReadChannels(KernelContext& c, const Tensor& t, int64_t channels) {
  TK_REQUIRE(t.shape() == Shape({channels}), ErrorKind::kShape,
             "scale, bias, mean and variance must have shape (", channels, ",), got ",
             t.shape().ToString());
  double* values = c.Scratch<double>(channels);
  DispatchFloats(t.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::copy_n(t.data<T>(), channels, values);
  });
  return values;
}

template <class T>
struct BatchNorm {
  BatchNorm(KernelContext& c, const Tensor& x)
      : c(c), v(x.shape()), x(x.data<T>()), fn(Normalizations<T>()) {}
  KernelContext& c;
  Channels v;
  const T* x;
  const NormalizeFunctions<T>& fn;

  // Sums k quantities of every channel over long spans: fn(out, channel, first sample, samples).
  template <class Fn>
  const double* SpanTotals(int k, Fn fn) const {
    const int64_t block = std::max<int64_t>(1, kSpanGrain / v.d);
    const int64_t blocks = (v.n + block - 1) / block;
    double* parts = Zeros(v.c * blocks * k);
    c.pool().ParallelFor(v.c * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % blocks * block;
        fn(parts + i * k, i / blocks, at, std::min(block, v.n - at));
      }
    });
    double* total = Zeros(k * v.c);
    for (int64_t i = 0; i < v.c * blocks; ++i)
      for (int j = 0; j < k; ++j) total[j * v.c + i / blocks] += parts[i * k + j];
    return total;
  }
  // The same over short spans: fn(out, first sample, samples), out with one array of `width()`
  // after another.
  template <class Fn>
  const double* RowTotals(int k, Fn fn) const {
    const int64_t width = v.width();
    const int64_t block = std::max<int64_t>(32, kSpanGrain / std::max<int64_t>(width, 1));
    const int64_t blocks = (v.n + block - 1) / block;
    double* parts = Zeros(blocks * k * width);
    c.pool().ParallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        fn(parts + i * k * width, i * block, std::min(block, v.n - i * block));
    });
    double* total = Zeros(k * v.c);
    for (int64_t i = 0; i < blocks * k; ++i)
      for (int64_t j = 0; j < width; ++j) total[i % k * v.c + j / v.d] += parts[i * width + j];
    return total;
  }

  double* Zeros(int64_t n) const {
    double* p = c.Scratch<double>(n);
    std::fill_n(p, n, 0.0);
    return p;
  }
  // One value for each element of a sample, from one for each channel.
  template <class From>
  const T* Spread(const From* channels) const {
    T* out = c.Scratch<T>(v.width());
    for (int64_t j = 0; j < v.width(); ++j) out[j] = static_cast<T>(channels[j / v.d]);
    return out;
  }

  // Mean and biased variance, and with dy: sums[c] = sum(dy), dots[c] = sum(dy (x - mean)).
  void Statistics(double* mean, double* variance, const T* dy = nullptr, double* sums = nullptr,
                  double* dots = nullptr) const {
    v.d >= kLongSpan ? SpanStatistics(mean, variance, dy, sums, dots)
                     : RowStatistics(mean, variance, dy, sums, dots);
  }

  // One pass around the mean of the first span. Where that is no fair sample of its channel, the
  // correction would cancel digits, and a second pass goes around the true mean.
  void SpanStatistics(double* mean, double* variance, const T* dy, double* sums,
                      double* dots) const {
    const auto count = static_cast<double>(v.count());
    const int k = dy ? 4 : 2;
    for (int64_t i = 0; i < v.c; ++i) mean[i] = v.n ? fn.sum(x + i * v.d, v.d) / v.d : 0;
    for (int attempt = 0; attempt < 2; ++attempt) {
      const double* total =
          SpanTotals(k, [&](double* out, int64_t channel, int64_t first, int64_t samples) {
            const int64_t at = (first * v.c + channel) * v.d;
            const T shift = static_cast<T>(mean[channel]);
            if (dy)
              fn.span_grad_sums(out, x + at, dy + at, samples, v.width(), v.d, shift);
            else
              fn.span_moments(out, x + at, samples, v.width(), v.d, shift);
          });
      bool again = false;
      for (int64_t i = 0; i < v.c; ++i) {
        const double off = total[i] / count;
        mean[i] = static_cast<double>(static_cast<T>(mean[i])) + off;
        variance[i] = std::max(0.0, total[v.c + i] / count - off * off);
        again |= off * off > 4 * variance[i];
        if (!dy) continue;
        sums[i] = total[2 * v.c + i];
        dots[i] = total[3 * v.c + i] - off * sums[i];
      }
      if (!again) return;
    }
  }

  void RowStatistics(double* mean, double* variance, const T* dy, double* sums,
                     double* dots) const {
    const auto count = static_cast<double>(v.count());
    const int64_t width = v.width();
    const ReduceColumnsFn add =
        Reductions().columns[static_cast<int>(ReduceOp::kSum)]
                            [static_cast<int>(ElementOf(DTypeOf<T>::kValue))];
    const double* total = RowTotals(1, [&](double* out, int64_t row, int64_t rows) {
      // An accumulator of floats is a double.
      add(reinterpret_cast<Accumulator*>(out), x + row * width, rows, width, width);
    });
    for (int64_t i = 0; i < v.c; ++i) mean[i] = total[i] / count;
    const T* shift = Spread(mean);
    const double* squares = RowTotals(1, [&](double* out, int64_t row, int64_t rows) {
      fn.column_squares(out, x + row * width, shift, rows, width);
    });
    for (int64_t i = 0; i < v.c; ++i) {
      const double off = mean[i] - static_cast<double>(static_cast<T>(mean[i]));
      variance[i] = std::max(0.0, squares[i] / count - off * off);
    }
    if (!dy) return;
    const double* both = RowTotals(2, [&](double* out, int64_t row, int64_t rows) {
      fn.column_dot_sums(out, out + width, dy + row * width, x + row * width, shift, rows, width);
    });
    std::copy_n(both, v.c, sums);
    std::copy_n(both + v.c, v.c, dots);
  }

  // y = (x - mean) scale + shift.
  void Affine(T* y, const double* mean, const double* scale, const double* shift) const {
    if (v.d >= kLongSpan) {
      const int64_t grain = std::max<int64_t>(1, kSpanGrain / v.d);
      c.pool().ParallelFor(v.n * v.c, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t k = i % v.c;
          fn.affine(y + i * v.d, x + i * v.d, v.d, static_cast<T>(mean[k]),
                    static_cast<T>(scale[k]), static_cast<T>(shift[k]));
        }
      });
      return;
    }
    const T *m = Spread(mean), *a = Spread(scale), *b = Spread(shift);
    const int64_t width = v.width();
    const int64_t grain = std::max<int64_t>(1, kSpanGrain / std::max<int64_t>(width, 1));
    c.pool().ParallelFor(v.n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        fn.affine_vector(y + i * width, x + i * width, width, m, a, b);
    });
  }
};

// scale / sqrt(variance + epsilon).
const double* Factors(KernelContext& c, const double* scale, const double* variance, double epsilon,
                      int64_t n) {
  double* a = c.Scratch<double>(n);
  for (int64_t i = 0; i < n; ++i) a[i] = scale[i] / std::sqrt(variance[i] + epsilon);
  return a;
}

void WriteChannels(KernelContext& c, int output, DType dtype, const double* values, int64_t n) {
  const Tensor& t = c.Output(output, dtype, Shape{n});
  DispatchFloats(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < n; ++i) t.data<T>()[i] = static_cast<T>(values[i]);
  });
}

// ONNX: momentum weighs the old value and the variance is biased; PyTorch (`torch_rule`): momentum
// weighs the new value and new_var takes the unbiased variance.
class BatchNormKernel : public Kernel {
 public:
  BatchNormKernel(const Attributes& a, bool torch_rule)
      : epsilon_(a.Float("epsilon", 1e-5f)),
        momentum_(a.Float("momentum", torch_rule ? 0.1f : 0.9f)),
        training_(torch_rule || a.Int("training_mode", 0) != 0),
        torch_rule_(torch_rule) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor& x = c.input(0);
    const BatchNorm<T> bn(c, x);
    const int64_t channels = bn.v.c;
    const double* scale = ReadChannels(c, c.input(1), channels);
    const double* bias = ReadChannels(c, c.input(2), channels);
    const double* mean = ReadChannels(c, c.input(3), channels);
    const double* variance = ReadChannels(c, c.input(4), channels);
    if (training_) {
      double *m = c.Scratch<double>(channels), *s = c.Scratch<double>(channels);
      bn.Statistics(m, s);
      Running(c, 1, c.input(3).dtype(), mean, m, 1, channels);
      const auto count = static_cast<double>(bn.v.count());
      const double unbiased = torch_rule_ ? count / std::max(count - 1, 1.0) : 1;
      Running(c, 2, c.input(4).dtype(), variance, s, unbiased, channels);
      mean = m;
      variance = s;
    }
    const double* factors = Factors(c, scale, variance, epsilon_, channels);
    T* y = c.Output(0, x.dtype(), x.shape()).template data<T>();
    bn.Affine(y, mean, factors, bias);
  }
  void Running(KernelContext& c, int output, DType dtype, const double* old, const double* batch,
               double correction, int64_t n) const {
    if (!c.has_output(output)) return;
    const double keep = torch_rule_ ? 1 - momentum_ : momentum_;
    double* values = c.Scratch<double>(n);
    for (int64_t i = 0; i < n; ++i) values[i] = old[i] * keep + batch[i] * correction * (1 - keep);
    WriteChannels(c, output, dtype, values, n);
  }
  double epsilon_, momentum_;
  bool training_, torch_rule_;
};

// dbias = sum(dy), dscale = sum(dy h), h = (x - mean) rstd, and with M elements in a channel
// dx = scale rstd (dy - dbias / M - h dscale / M).
class BatchNormGradKernel : public Kernel {
 public:
  explicit BatchNormGradKernel(const Attributes& a) : epsilon_(a.Float("epsilon", 1e-5f)) {}
  void Run(KernelContext& c) const override {
    DispatchFloats(c.input(0).dtype(), [&](auto tag) { RunAs<typename decltype(tag)::type>(c); });
  }

 private:
  template <class T>
  void RunAs(KernelContext& c) const {
    const Tensor &x = c.input(0), &dy_tensor = c.input(2);
    RequireSameDType(x, dy_tensor);
    TK_REQUIRE(dy_tensor.shape() == x.shape(), ErrorKind::kShape, "dy must have the shape of x ",
               x.shape().ToString(), ", got ", dy_tensor.shape().ToString());
    const BatchNorm<T> bn(c, x);
    const Channels& v = bn.v;
    const T* dy = dy_tensor.data<T>();
    const double* scale = ReadChannels(c, c.input(1), v.c);
    double *mean = c.Scratch<double>(v.c), *variance = c.Scratch<double>(v.c);
    double *sums = c.Scratch<double>(v.c), *dots = c.Scratch<double>(v.c);
    bn.Statistics(mean, variance, dy, sums, dots);
    const bool spans = v.d >= kLongSpan;
    const int64_t width = v.width();
    // dx = a dy + b (x - mean) + k.
    double *dscale = c.Scratch<double>(v.c), *a = c.Scratch<double>(v.c),
           *b = c.Scratch<double>(v.c), *k = c.Scratch<double>(v.c);
    const auto count = static_cast<double>(v.count());
    for (int64_t i = 0; i < v.c; ++i) {
      const double rstd = 1 / std::sqrt(variance[i] + epsilon_);
      dscale[i] = dots[i] * rstd;
      a[i] = scale[i] * rstd;
      b[i] = -a[i] * dscale[i] * rstd / count;
      k[i] = -a[i] * sums[i] / count;
    }
    if (c.has_output(1)) WriteChannels(c, 1, c.input(1).dtype(), dscale, v.c);
    if (c.has_output(2)) WriteChannels(c, 2, c.input(1).dtype(), sums, v.c);
    if (!c.has_output(0)) return;
    T* dx = c.Output(0, x.dtype(), x.shape()).template data<T>();
    if (spans) {
      const int64_t grain = std::max<int64_t>(1, kSpanGrain / v.d);
      c.pool().ParallelFor(v.n * v.c, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t j = i % v.c;
          bn.fn.combine(dx + i * v.d, dy + i * v.d, bn.x + i * v.d, v.d, static_cast<T>(a[j]),
                        static_cast<T>(b[j]), static_cast<T>(mean[j]), static_cast<T>(k[j]));
        }
      });
      return;
    }
    const T *as = bn.Spread(a), *bs = bn.Spread(b), *ks = bn.Spread(k), *shift = bn.Spread(mean);
    const int64_t grain = std::max<int64_t>(1, kSpanGrain / std::max<int64_t>(width, 1));
    c.pool().ParallelFor(v.n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        bn.fn.combine_each(dx + i * width, dy + i * width, bn.x + i * width, width, as, bs, shift,
                           ks);
    });
  }
  double epsilon_;
};

static const bool kBatchNorm[] = {
    Register<BatchNormKernel>("BatchNormalization", false)
        .Types(kFloats)
        .Widen({0, 3, 4})
        .Inplace(0, 0),
    Register<BatchNormKernel>("BatchNormTraining", true)
        .Domain("toolkit.nn")
        .Types(kFloats)
        .Widen()
        .Inplace(0, 0)
        .Inplace(3, 1)
        .Inplace(4, 2),
    Register<BatchNormGradKernel>("BatchNormalizationGrad")
        .Domain("toolkit.grad")
        .Types(kFloats)
        .Widen(),
};

}  // namespace
}  // namespace toolkit
