// DeformConv: convolution whose taps are moved by offsets and weighted by a mask.
//
// For each image the columns (C, taps, positions) are sampled, in parallel over channels and blocks
// of positions; then each group is one matrix product with its weights.
#include <algorithm>

#include "core/gemm.h"
#include "kernels/sample_taps.h"
#include "kernels/window.h"

namespace toolkit {
namespace {

struct DeformSizes {
  Window w;
  int64_t images, channels, outputs, group, offset_group, taps, positions, plane;
};

class DeformConv : public Kernel {
 public:
  explicit DeformConv(const Attributes& a)
      : window_(a), group_(a.Int("group", 1)), offset_group_(a.Int("offset_group", 1)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const DeformSizes s = Resolve(c);
    Shape shape = {s.images, s.outputs};
    for (int d = 0; d < s.w.rank; ++d) shape.push_back(s.w.out[d]);
    Tensor& y = c.Output(0, x.dtype(), shape);
    if (y.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) { Convolve<typename decltype(tag)::type>(c, s, y); });
  }

 private:
  DeformSizes Resolve(KernelContext& c) const {
    const Tensor &x = c.input(0), &weight = c.input(1), &offset = c.input(2);
    const Tensor *bias = c.optional_input(3), *mask = c.optional_input(4);
    for (const Tensor* t : {&weight, &offset, bias, mask})
      TK_REQUIRE(!t || t->dtype() == x.dtype(), ErrorKind::kDType, "all inputs must have X's type ",
                 Name(x.dtype()), ", got ", Name(t->dtype()));
    TK_REQUIRE(x.rank() >= 3 && weight.rank() == x.rank(), ErrorKind::kShape,
               "X and W must have one rank of 3 or more, got ", x.shape().ToString(), " and ",
               weight.shape().ToString());
    const std::vector<int64_t> kernel(weight.shape().begin() + 2, weight.shape().end());
    TK_REQUIRE(window_.kernel_shape.empty() || window_.kernel_shape == kernel, ErrorKind::kShape,
               "kernel_shape must agree with W ", weight.shape().ToString());
    for (int64_t k : kernel)
      TK_REQUIRE(k >= 1, ErrorKind::kShape, "W must have taps, got ", weight.shape().ToString());
    DeformSizes s;
    s.w = window_.Resolve(x.shape(), kernel, false);
    s.images = x.dim(0);
    s.channels = x.dim(1);
    s.outputs = weight.dim(0);
    s.group = group_;
    s.offset_group = offset_group_;
    s.taps = TapCount(s.w);
    s.positions = OutCount(s.w);
    s.plane = InCount(s.w);
    TK_REQUIRE(group_ >= 1 && s.channels % group_ == 0 && s.outputs % group_ == 0 &&
                   weight.dim(1) == s.channels / group_,
               ErrorKind::kShape, "W must be (M, C / ", group_, ", ...) with M and C multiples of ",
               group_, ", got ", weight.shape().ToString(), " for X ", x.shape().ToString());
    TK_REQUIRE(offset_group_ >= 1 && s.channels % offset_group_ == 0 &&
                   offset_group_ <= (int64_t{1} << 20),
               ErrorKind::kShape, "offset_group must divide the ", s.channels, " channels, got ",
               offset_group_);
    TK_REQUIRE(s.plane < (int64_t{1} << 31), ErrorKind::kUnsupported,
               "X must have fewer than 2^31 elements a plane, got ", s.plane);
    CheckMap("offset", offset, s, s.taps * s.w.rank);
    if (mask) CheckMap("mask", *mask, s, s.taps);
    TK_REQUIRE(!bias || (bias->rank() == 1 && bias->dim(0) == s.outputs), ErrorKind::kShape,
               "B must be a vector of ", s.outputs, ", got ", bias->shape().ToString());
    return s;
  }

  static void CheckMap(const char* name, const Tensor& t, const DeformSizes& s, int64_t each) {
    Shape want = {s.images, s.offset_group * each};
    for (int d = 0; d < s.w.rank; ++d) want.push_back(s.w.out[d]);
    TK_REQUIRE(t.shape() == want, ErrorKind::kShape, name, " must be ", want.ToString(), ", got ",
               t.shape().ToString());
  }

  template <class T>
  static void Convolve(KernelContext& c, const DeformSizes& s, Tensor& y) {
    const Tensor *bias = c.optional_input(3), *mask = c.optional_input(4);
    const int64_t rows = s.channels * s.taps, per_group = rows / s.group;
    const int64_t outputs = s.outputs / s.group;
    const std::shared_ptr<Buffer> space =
        Buffer::Allocate(CheckedBytes(DTypeOf<T>::kValue, {rows, s.positions}));
    T* columns = reinterpret_cast<T*>(space->data());
    for (int64_t n = 0; n < s.images; ++n) {
      Sample(c, s, n, mask ? mask->data<T>() : nullptr, columns);
      for (int64_t g = 0; g < s.group; ++g) {
        GemmArgs<T> args;
        args.m = outputs;
        args.n = s.positions;
        args.k = per_group;
        args.a = c.input(1).data<T>() + g * outputs * per_group;
        args.lda = per_group;
        args.b = columns + g * per_group * s.positions;
        args.ldb = s.positions;
        args.c = y.data<T>() + (n * s.outputs + g * outputs) * s.positions;
        args.ldc = s.positions;
        if (bias) args.row_bias = bias->data<T>() + g * outputs;
        Gemm(args);
      }
    }
  }

  // The columns of image n.
  template <class T>
  static void Sample(KernelContext& c, const DeformSizes& s, int64_t n, const T* mask, T* columns) {
    const Window& w = s.w;
    const int64_t blocks = (s.positions + kSampleBlock - 1) / kSampleBlock;
    const int64_t members = s.channels / s.offset_group;
    const T* x = c.input(0).data<T>() + n * s.channels * s.plane;
    const T* offset = c.input(2).data<T>() + n * s.offset_group * s.taps * w.rank * s.positions;
    if (mask) mask += n * s.offset_group * s.taps * s.positions;
    std::vector<SampleAxis> axes;
    for (int d = 0; d < w.rank; ++d)
      axes.emplace_back(w.in[d], SampleMode::kLinear, SamplePadding::kZeros, true);
    c.pool().ParallelFor(s.offset_group * s.taps * blocks, 1, [&](int64_t begin, int64_t end) {
      TapBlock<T> block(axes, w.in, false);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / blocks, first = i % blocks * kSampleBlock;  // Row: (group, tap).
        const int64_t count = std::min(kSampleBlock, s.positions - first);
        const int64_t group = row / s.taps, tap = row % s.taps;
        Locate(w, tap, first, count, offset + row * w.rank * s.positions, s.positions, &block);
        for (int64_t k = 0; mask && k < block.taps(); ++k)
          for (int64_t j = 0; j < count; ++j)
            block.weight()[k * kSampleBlock + j] *= mask[row * s.positions + first + j];
        for (int64_t ch = group * members; ch < (group + 1) * members; ++ch)
          ImageRowsOf(T()).gather(count, block.taps(), block.at(), block.weight(), kSampleBlock,
                                  x + ch * s.plane,
                                  columns + (ch * s.taps + tap) * s.positions + first);
      }
    });
  }

  // The taps of positions [first, first + count) under one kernel tap.
  template <class T>
  static void Locate(const Window& w, int64_t tap, int64_t first, int64_t count, const T* offset,
                     int64_t positions, TapBlock<T>* block) {
    double start[kMaxSpatialRank], x[kMaxSpatialRank];
    for (int d = w.rank - 1; d >= 0; --d) {
      start[d] = static_cast<double>(tap % w.kernel[d] * w.dilation[d] - w.pad_begin[d]);
      tap /= w.kernel[d];
    }
    for (int64_t j = 0; j < count; ++j) {
      int64_t rest = first + j;
      for (int d = w.rank - 1; d >= 0; --d) {
        x[d] = start[d] + static_cast<double>(rest % w.out[d] * w.stride[d]) +
               static_cast<double>(offset[d * positions + first + j]);
        rest /= w.out[d];
      }
      block->Set(j, x);
    }
  }

  WindowAttributes window_;
  int64_t group_, offset_group_;
};

static const bool kDeformConv = Register<DeformConv>("DeformConv").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
