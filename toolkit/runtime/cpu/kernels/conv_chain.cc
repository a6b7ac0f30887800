// Pointwise and depthwise convolutions in a row, a few rows of the last one at a time: what lies
// between them never leaves a core's cache. Inside, channels are last: a pointwise convolution is a
// matrix product whose rows are positions, a depthwise one works on vectors of channels. A strip of
// rows is one task: what two of its steps need is kept, what two strips need is computed twice.
#include <algorithm>
#include <string>
#include <vector>

#include "core/gemm.h"
#include "core/kernel.h"
#include "kernels/conv_activation.h"
#include "kernels/conv_tiles.h"
#include "kernels/float_space.h"
#include "kernels/window.h"
#include "simd/channels.h"

namespace toolkit {
namespace {

constexpr int64_t kStepBytes = 256 * 1024;  // Of all that lies between, in L2 beside the weights.
constexpr int64_t kStepPositions = 28;      // Enough work under each weight.
constexpr int64_t kStripRows = 2;           // A strip of fewer is mostly what its neighbours need.

// Rows [begin, end) of an image.
struct Rows {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

// One convolution of the chain, and its weights in the layout that it runs on.
struct Stage {
  // `own`: strides, pads, activation and activation_params, as a convolution has them.
  Stage(bool depthwise, const Attributes& own)
      : depthwise(depthwise),
        window(own),
        stride(window.strides[0]),
        pads(window.pads),
        activation(own) {}

  bool depthwise;
  WindowAttributes window;
  int64_t stride;
  std::vector<int64_t> pads;  // Top, left, bottom, right.
  ConvActivation activation;
  int64_t in = 0, out = 0, kernel = 1;  // Channels; taps to a side.
  std::vector<float> weights, bias;

  int64_t pitch() const { return RoundUp(out, ChannelsSimd().lanes); }  // Between two positions.
  // The rows of the input, of `height`, that rows of the output see.
  Rows Needed(Rows rows, int64_t height) const {
    const int64_t first = rows.begin * stride - pads[0];
    const int64_t last = (rows.end - 1) * stride - pads[0] + kernel;
    return {std::clamp<int64_t>(first, 0, height), std::clamp<int64_t>(last, 0, height)};
  }

  void Pack(const Tensor& w) {
    const bool fits =
        w.dtype() == DType::kFloat && w.rank() == 4 && w.dim(2) == w.dim(3) &&
        (depthwise ? w.dim(1) == 1 && (w.dim(2) == 3 || w.dim(2) == 5) : w.dim(2) == 1);
    TK_REQUIRE(fits, ErrorKind::kShape, "ConvChain: W must be float32 (C, 1, 3 or 5, same) or (O, ",
               "C, 1, 1), got ", w.shape().ToString());
    out = w.dim(0), in = depthwise ? out : w.dim(1), kernel = w.dim(2);
    bias.resize(static_cast<size_t>(pitch()), 0.0f);
    const float* from = w.data<float>();
    if (!depthwise) {
      weights.resize(static_cast<size_t>(PackedGemmBSize<float>(in, out)));
      return PackGemmB(true, in, out, from, in, weights.data());
    }
    weights.resize(static_cast<size_t>(kernel * kernel * pitch()));
    for (int64_t c = 0; c < out; ++c)
      for (int64_t t = 0; t < kernel * kernel; ++t)
        weights[t * pitch() + c] = from[c * kernel * kernel + t];
  }
};

// The sizes of one call.
struct Plan {
  Plan(const std::vector<Stage>& stages, const Shape& x, int64_t threads) : batch(x[0]) {
    heights.push_back(x[2]), widths.push_back(x[3]);
    for (const Stage& s : stages) {
      const Shape input = {batch, s.in, heights.back(), widths.back()};
      const Window w = s.window.Resolve(input, {s.kernel, s.kernel}, false);
      heights.push_back(w.out[0]), widths.push_back(w.out[1]);
    }
    const int64_t height = heights.back(), few = CeilDiv(kStepPositions, widths.back());
    step = height;
    while (step > few && Bytes(stages, step) > kStepBytes) step = std::max(few, step / 2);
    step = CeilDiv(height, CeilDiv(height, step));
    const bool small = Work(stages) <= kParallelWork;
    if (!small && batch % threads != 0 && height >= kStripRows * threads) strips = threads;
    strip_rows = CeilDiv(height, strips);
    strips = CeilDiv(height, strip_rows);
    int64_t rows = step;
    capacity.resize(heights.size());
    for (size_t i = stages.size(); i-- > 0;) {
      capacity[i + 1] = std::min(rows, heights[i + 1]);
      rows = (rows - 1) * stages[i].stride + stages[i].kernel;
    }
  }

  // Multiply-adds.
  int64_t Work(const std::vector<Stage>& stages) const {
    int64_t work = 0;
    for (size_t i = 0; i < stages.size(); ++i)
      work += heights[i + 1] * widths[i + 1] * stages[i].out *
              (stages[i].depthwise ? stages[i].kernel * stages[i].kernel : stages[i].in);
    return batch * work;
  }

  // What the stages make for a step of `rows`, inside the image.
  int64_t Bytes(const std::vector<Stage>& stages, int64_t rows) const {
    int64_t bytes = 0;
    for (size_t i = stages.size(); i-- > 0;) {
      bytes += rows * widths[i + 1] * stages[i].pitch() * 4;
      rows = (rows - 1) * stages[i].stride + stages[i].kernel;
    }
    return bytes;
  }

  int64_t batch, strips = 1, strip_rows, step;
  std::vector<int64_t> heights, widths;  // Of x and of what each stage makes.
  std::vector<int64_t> capacity;         // Rows of each for a step; x is read in place.
};

// Some rows of what a stage makes. Under a depthwise stage they stand in a ring, so that those
// which the next step sees too stay where they are.
class Made {
 public:
  Made(int64_t capacity, int64_t row, bool ring)
      : row_(row), capacity_(capacity), ring_(ring), space_(capacity * row) {}

  void Clear() { rows_ = {0, 0}; }
  // Of `rows`, those that are not there yet. They follow those that are.
  Rows Fresh(Rows rows) const {
    const bool some = rows_.end > rows.begin && rows_.begin <= rows.begin;
    return {some ? std::min(rows_.end, rows.end) : rows.begin, rows.end};
  }
  void Keep(Rows rows) { rows_ = rows; }
  // The first of `rows` that lie side by side.
  Rows Run(Rows rows) const {
    const int64_t room = ring_ ? capacity_ - rows.begin % capacity_ : capacity_;
    return {rows.begin, std::min(rows.end, rows.begin + room)};
  }
  float* at(int64_t row) const {
    return space_.data() + (ring_ ? row % capacity_ : row - rows_.begin) * row_;
  }
  int64_t row() const { return row_; }  // Floats.

 private:
  int64_t row_, capacity_;
  bool ring_;
  Rows rows_ = {0, 0};
  FloatSpace space_;
};

class Strip {
 public:
  Strip(const std::vector<Stage>& stages, const Plan& plan) : stages_(stages), p_(plan) {
    for (size_t i = 0; i <= stages.size(); ++i)
      made_.emplace_back(plan.capacity[i], plan.widths[i] * stages[i ? i - 1 : 0].pitch(),
                         i < stages.size() && stages[i].depthwise);
  }

  // A strip of an image.
  void Run(int64_t image, int64_t strip, const float* x, const ConvEpilogue<float>& last,
           float* y) {
    for (Made& made : made_) made.Clear();
    const int64_t end = std::min((strip + 1) * p_.strip_rows, p_.heights.back());
    x += image * stages_[0].in * p_.heights[0] * p_.widths[0];
    for (int64_t r = strip * p_.strip_rows; r < end; r += p_.step) {
      const Rows rows = {r, std::min(r + p_.step, end)};
      Step(rows, x);
      Store(image, rows, last, y);
    }
  }

 private:
  void Step(Rows rows, const float* x) {
    const size_t n = stages_.size();
    std::vector<Rows> need(n + 1), fresh(n + 1);  // Of x and of what each stage makes.
    need[n] = rows;
    for (size_t i = n; i > 0; --i) {
      fresh[i] = made_[i].Fresh(need[i]);
      need[i - 1] = stages_[i - 1].Needed(fresh[i], p_.heights[i - 1]);
    }
    for (size_t i = 0; i < n; ++i) {
      made_[i + 1].Keep(need[i + 1]);
      ConvEpilogue<float> e;
      if (i + 1 < n) stages_[i].activation.Apply(&e);
      if (stages_[i].depthwise) {
        Depthwise(i, e, fresh[i + 1]);
        continue;
      }
      ForRuns(made_[i + 1], fresh[i + 1], [&](Rows run) { Product(i, e, run, x); });
    }
  }

  template <class Fn>
  static void ForRuns(const Made& made, Rows rows, Fn fn) {
    while (rows.count() > 0) {
      const Rows run = made.Run(rows);
      fn(run);
      rows.begin = run.end;
    }
  }

  // Rows of a pointwise stage. The first reads them as columns of x.
  void Product(size_t i, const ConvEpilogue<float>& e, Rows rows, const float* x) {
    const Stage& s = stages_[i];
    const int64_t positions = rows.count() * p_.widths[i];
    float* to = made_[i + 1].at(rows.begin);
    GemmArgs<float> args = {positions, s.out, s.in};
    args.a = i ? made_[i].at(rows.begin) : x + rows.begin * p_.widths[0];
    args.lda = i ? stages_[i - 1].pitch() : p_.heights[0] * p_.widths[0];
    args.trans_a = i == 0;
    args.packed_b = s.weights.data();
    args.col_bias = s.bias.data();
    args.bounded = e.bounded(), args.low = e.low, args.high = e.high;
    args.map = e.activation, args.map_params = e.params;
    args.c = to, args.ldc = s.pitch();
    Gemm(args);
    for (int64_t p = 0; s.out < s.pitch() && p < positions; ++p)
      std::fill(to + p * s.pitch() + s.out, to + (p + 1) * s.pitch(), 0.0f);
  }

  void Depthwise(size_t i, const ConvEpilogue<float>& e, Rows rows) {
    const Stage& s = stages_[i];
    const float* taps[5];
    const ChannelsRow row = {taps,      p_.widths[i],     p_.widths[i + 1], s.pitch(), s.stride,
                             s.pads[1], s.weights.data(), s.bias.data(),    e.low,     e.high};
    const ChannelsFn fn = ChannelsSimd().fn[(s.kernel - 3) / 2][s.stride - 1];
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      for (int64_t k = 0; k < s.kernel; ++k) {
        const int64_t at = r * s.stride - s.pads[0] + k;
        taps[k] = at >= 0 && at < p_.heights[i] ? made_[i].at(at) : nullptr;
      }
      float* to = made_[i + 1].at(r);
      fn(row, to);
      if (e.activation) e.activation(to, to, made_[i + 1].row(), e.params);
    }
  }

  // The last stage's rows, channels first again, finished.
  void Store(int64_t image, Rows rows, const ConvEpilogue<float>& e, float* y) {
    const Stage& s = stages_.back();
    const int64_t width = p_.widths.back(), plane = p_.heights.back() * width;
    const int64_t n = rows.count() * width;
    const FloatSpace turned(s.out * n);
    GemmTranspose<float>(n, s.out, made_.back().at(rows.begin), s.pitch(), n, turned.data());
    for (int64_t c = 0; c < s.out; ++c) {
      const RowCopy row = {c * n, rows.begin * width, n};
      StoreChannel(&row, 1, turned.data(), e, c, (image * s.out + c) * plane, y);
    }
  }

  const std::vector<Stage>& stages_;
  const Plan& p_;
  std::vector<Made> made_;  // What each stage makes, from 1.
};

// (X, W, B, W, B, ..., residual): activation(Conv(...) + residual) at the end. Made by the runtime
// alone. Lists with an element a stage: depthwise (0 or 1), strides, activations, and
// activation_counts, how many of activation_params are its own; pads has four.
class ConvChain : public Kernel {
 public:
  explicit ConvChain(const Attributes& attributes) {
    const auto depthwise = attributes.Ints("depthwise"), strides = attributes.Ints("strides");
    const auto pads = attributes.Ints("pads"), counts = attributes.Ints("activation_counts");
    const auto names = attributes.Strings("activations");
    const auto params = attributes.Floats("activation_params");
    const size_t n = depthwise.size();
    int64_t taken = 0;
    TK_REQUIRE(n > 0 && !depthwise[0] && strides.size() == n && pads.size() == 4 * n &&
                   counts.size() == n && names.size() == n,
               ErrorKind::kInvalidArgument,
               "ConvChain: lists must have an element a stage, the first of them pointwise");
    for (size_t i = 0; i < n; ++i) {
      TK_REQUIRE((strides[i] == 1 || (strides[i] == 2 && depthwise[i])) && counts[i] >= 0 &&
                     taken + counts[i] <= static_cast<int64_t>(params.size()),
                 ErrorKind::kInvalidArgument, "ConvChain: stride 1, or 2 of a depthwise stage");
      const auto pad = pads.begin() + static_cast<ptrdiff_t>(4 * i);
      TK_REQUIRE(std::all_of(pad, pad + 4, [&](int64_t p) { return p == 0 || depthwise[i]; }),
                 ErrorKind::kInvalidArgument, "ConvChain: pads must be 0 for a pointwise stage");
      Attributes own;
      own.Set("strides", std::vector<int64_t>(2, strides[i]));
      own.Set("pads", std::vector<int64_t>(pad, pad + 4));
      own.Set("activation", names[i]);
      own.Set("activation_params",
              std::vector<double>(params.begin() + taken, params.begin() + taken + counts[i]));
      taken += counts[i];
      Stage s(depthwise[i] != 0, own);
      stages_.push_back(std::move(s));
    }
  }

  void Prepack(int input, const Tensor& value) override {
    if (input < 1 || input > 2 * static_cast<int>(stages_.size())) return;
    Stage& s = stages_[(input - 1) / 2];
    if (input % 2 == 1) return s.Pack(value);
    TK_REQUIRE(value.dtype() == DType::kFloat && value.size() == s.out, ErrorKind::kShape,
               "ConvChain: B must have an element for each output channel");
    std::copy_n(value.data<float>(), s.out, s.bias.begin());
  }
  bool NeedsConstant(int) const override { return false; }
  size_t PackedBytes() const override {
    size_t bytes = 0;
    for (const Stage& s : stages_) bytes += s.weights.size() * sizeof(float);
    return bytes;
  }
  std::string Describe(const KernelContext& c) const override {
    const Plan plan(stages_, c.input(0).shape(), c.pool().num_threads());
    return std::to_string(plan.strips) + " x " + std::to_string(plan.step) + " rows";
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() == 4, ErrorKind::kShape, "X must be (N, C, H, W), got ",
               x.shape().ToString());
    int64_t channels = x.dim(1);
    for (const Stage& s : stages_) {
      TK_REQUIRE(s.out > 0 && s.in == channels, ErrorKind::kShape,
                 "X's channels must be group x W's second dimension, got ", channels, " and ",
                 s.in);
      channels = s.out;
    }
    const Plan plan(stages_, x.shape(), c.pool().num_threads());
    const Shape shape = {plan.batch, channels, plan.heights.back(), plan.widths.back()};
    const Tensor* residual = c.optional_input(1 + 2 * static_cast<int>(stages_.size()));
    TK_REQUIRE(!residual || (residual->shape() == shape && residual->dtype() == DType::kFloat),
               ErrorKind::kShape, "residual must have the output's shape ", shape.ToString());
    Tensor& y = c.Output(0, DType::kFloat, shape);
    if (y.size() == 0) return;
    ConvEpilogue<float> last;
    stages_.back().activation.Apply(&last);
    if (residual) last.residual = residual->data<float>();
    const float* from = x.data<float>();
    float* to = y.data<float>();
    c.pool().ParallelFor(plan.batch * plan.strips, 1, [&](int64_t begin, int64_t end) {
      Strip strip(stages_, plan);
      for (int64_t i = begin; i < end; ++i)
        strip.Run(i / plan.strips, i % plan.strips, from, last, to);
    });
  }

 private:
  std::vector<Stage> stages_;
};

static const bool kConvChain =
    Register<ConvChain>("ConvChain").Types(Bit(DType::kFloat)).Domain("toolkit.fused");

}  // namespace
}  // namespace toolkit
