// Operators that rearrange elements: each computes strides and hands them to StridedCopy.
#include "kernels/movement.h"

namespace toolkit {
namespace {

// y = x with dimension i taken from dimension perm[i].
void Permute(KernelContext& c, const Tensor& x, const Shape& shape, const int* perm, Tensor& y) {
  const Shape from = StridesOf(shape);
  Shape permuted = Shape::Filled(shape.rank(), 1);
  for (int i = 0; i < shape.rank(); ++i) permuted[i] = shape[perm[i]];
  const Shape to = StridesOf(permuted);
  StridedCopy copy(x.dtype());
  for (int i = 0; i < shape.rank(); ++i) copy.Add(permuted[i], to[i], from[perm[i]]);
  copy.Run(c.pool(), y.raw(), x.raw());
}

class Transpose : public Kernel {
 public:
  explicit Transpose(const Attributes& a) : given_(a.Has("perm")), perm_(a.Ints("perm")) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int rank = x.rank();
    int perm[kMaxRank];
    if (given_) {
      TK_REQUIRE(static_cast<int>(perm_.size()) == rank, ErrorKind::kInvalidArgument,
                 "perm must have one entry per dimension, got ", perm_.size(), " for shape ",
                 x.shape().ToString());
      const std::vector<int> axes = NormalizeAxes(perm_, rank);
      std::copy(axes.begin(), axes.end(), perm);
    } else {
      for (int i = 0; i < rank; ++i) perm[i] = rank - 1 - i;
    }
    Shape shape = x.shape();
    for (int i = 0; i < rank; ++i) shape[i] = x.dim(perm[i]);
    Tensor& y = c.Output(0, x.dtype(), shape);
    Permute(c, x, x.shape(), perm, y);
  }

 private:
  bool given_;
  std::vector<int64_t> perm_;
};

class Concat : public Kernel {
 public:
  explicit Concat(const Attributes& a) : axis_(a.Int("axis", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& first = c.input(0);
    const int rank = first.rank(), axis = NormalizeAxis(axis_, rank);
    Shape shape = first.shape();
    for (int k = 1; k < c.num_inputs(); ++k) {
      const Tensor& x = c.input(k);
      TK_REQUIRE(x.dtype() == first.dtype(), ErrorKind::kDType, "inputs must have one type, got ",
                 Name(first.dtype()), " and ", Name(x.dtype()));
      TK_REQUIRE(x.rank() == rank, ErrorKind::kShape,
                 "Tensors must have same number of dimensions: got ", rank, " and ", x.rank(),
                 ": inputs must agree in all dimensions but axis ", axis, ", got ",
                 first.shape().ToString(), " and ", x.shape().ToString());
      for (int i = 0; i < rank; ++i)
        TK_REQUIRE(i == axis || x.dim(i) == shape[i], ErrorKind::kShape,
                   "Sizes of tensors must match except in dimension ", axis, ". Expected size ",
                   shape[i], " but got size ", x.dim(i), " for tensor number ", k,
                   " in the list: inputs must agree in all dimensions but axis ", axis, ", got ",
                   first.shape().ToString(), " and ", x.shape().ToString());
      shape[axis] += x.dim(axis);
    }
    Tensor& y = c.Output(0, first.dtype(), shape);
    const int64_t outer = shape.Count(0, axis), inner = shape.Count(axis + 1, rank);
    const int64_t item = static_cast<int64_t>(ItemSize(y.dtype()));
    char* dst = y.data<char>();
    for (int k = 0; k < c.num_inputs(); ++k) {
      const int64_t run = c.input(k).dim(axis) * inner;
      StridedCopy copy(y.dtype());
      copy.Add(outer, shape[axis] * inner, run);
      copy.Add(run, 1, 1);
      copy.Run(c.pool(), dst, c.input(k).raw());
      dst += run * item;
    }
  }

 private:
  int64_t axis_;
};

class Split : public Kernel {
 public:
  explicit Split(const Attributes& a)
      : axis_(a.Int("axis", 0)), num_outputs_(a.Int("num_outputs", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const int rank = x.rank(), axis = NormalizeAxis(axis_, rank);
    const std::vector<int64_t> sizes = Sizes(c, x.dim(axis));
    const int64_t outer = x.shape().Count(0, axis), inner = x.shape().Count(axis + 1, rank);
    const char* src = x.data<char>();
    for (int k = 0; k < c.num_outputs(); ++k) {
      const int64_t run = sizes[k] * inner;
      if (c.has_output(k)) {
        Shape shape = x.shape();
        shape[axis] = sizes[k];
        StridedCopy copy(x.dtype());
        copy.Add(outer, run, x.dim(axis) * inner);
        copy.Add(run, 1, 1);
        copy.Run(c.pool(), c.Output(k, x.dtype(), shape).raw(), src);
      }
      src += run * static_cast<int64_t>(ItemSize(x.dtype()));
    }
  }

 private:
  // Sizes along the axis: the input `split`, or equal parts of which the last may be smaller.
  std::vector<int64_t> Sizes(KernelContext& c, int64_t dim) const {
    const int64_t outputs = c.num_outputs();
    std::vector<int64_t> sizes;
    if (const Tensor* split = c.optional_input(1)) {
      sizes = ReadInts(*split, "split");
      int64_t left = dim;
      for (int64_t s : sizes) {
        TK_REQUIRE(s >= 0 && s <= left, ErrorKind::kShape, "split must sum to ", dim,
                   ", the size of the axis, and hold nothing negative");
        left -= s;
      }
      TK_REQUIRE(left == 0, ErrorKind::kShape, "split must sum to ", dim,
                 ", the size of the axis, got ", dim - left);
    } else {
      const int64_t n = num_outputs_ > 0 ? num_outputs_ : outputs;
      TK_REQUIRE(n >= outputs && n <= 1 << 20, ErrorKind::kInvalidArgument,
                 "num_outputs must be the number of outputs, ", outputs, ", got ", n);
      const int64_t part = dim / n + (dim % n != 0);
      for (int64_t i = 0, left = dim; i < n; ++i, left -= sizes.back())
        sizes.push_back(std::min(part, left));
    }
    TK_REQUIRE(static_cast<int64_t>(sizes.size()) >= outputs, ErrorKind::kInvalidArgument,
               "split must name a size for each of the ", outputs, " outputs, got ", sizes.size());
    return sizes;
  }

  int64_t axis_, num_outputs_;
};

void Expand(KernelContext& c) {
  const Tensor& x = c.input(0);
  const std::vector<int64_t> wanted = ReadInts(c.input(1), "shape");
  for (int64_t d : wanted)
    TK_REQUIRE(d >= 0, ErrorKind::kShape, "shape must hold no negative sizes, got ", d);
  const Shape shape = BroadcastShapes(x.shape(), Shape(wanted.data(), wanted.size()));
  Tensor& y = c.Output(0, x.dtype(), shape);
  const Shape to = StridesOf(shape), from = StridesOf(x.shape());
  const int added = shape.rank() - x.rank();
  StridedCopy copy(x.dtype());
  for (int i = 0; i < shape.rank(); ++i)
    copy.Add(shape[i], to[i], i < added || x.dim(i - added) == 1 ? 0 : from[i - added]);
  copy.Run(c.pool(), y.raw(), x.raw());
}

void Tile(KernelContext& c) {
  const Tensor& x = c.input(0);
  const std::vector<int64_t> repeats = ReadInts(c.input(1), "repeats");
  TK_REQUIRE(static_cast<int>(repeats.size()) == x.rank(), ErrorKind::kShape,
             "repeats must have one entry per dimension, got ", repeats.size(), " for shape ",
             x.shape().ToString());
  Shape shape = x.shape();
  for (int i = 0; i < x.rank(); ++i) {
    TK_REQUIRE(repeats[i] >= 0 && !__builtin_mul_overflow(x.dim(i), repeats[i], &shape[i]),
               ErrorKind::kShape, "repeats must not be negative or this large, got ", repeats[i]);
  }
  Tensor& y = c.Output(0, x.dtype(), shape);
  const Shape to = StridesOf(shape), from = StridesOf(x.shape());
  StridedCopy copy(x.dtype());
  for (int i = 0; i < x.rank(); ++i) {
    copy.Add(repeats[i], to[i] * x.dim(i), 0);
    copy.Add(x.dim(i), to[i], from[i]);
  }
  copy.Run(c.pool(), y.raw(), x.raw());
}

// Blocks of `b` x `b` pixels against channels; DCR and CRD name the order within the depth.
class DepthSpace : public Kernel {
 public:
  DepthSpace(const Attributes& a, bool to_space)
      : to_space_(to_space), block_(a.Int("blocksize", 0)) {
    const std::string mode = a.String("mode", "DCR");
    TK_REQUIRE(mode == "DCR" || mode == "CRD", ErrorKind::kInvalidArgument,
               "mode must be DCR or CRD, got ", mode);
    TK_REQUIRE(block_ >= 1 && block_ <= 1 << 20, ErrorKind::kInvalidArgument,
               "blocksize must be positive, got ", block_);
    dcr_ = mode == "DCR";
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    TK_REQUIRE(x.rank() == 4, ErrorKind::kShape, "input must be (N, C, H, W), got ",
               x.shape().ToString());
    const int64_t n = x.dim(0), ch = x.dim(1), h = x.dim(2), w = x.dim(3), b = block_;
    if (to_space_) {
      TK_REQUIRE(ch % (b * b) == 0, ErrorKind::kShape, "channels must be a multiple of ", b * b,
                 ", got ", ch);
      const int64_t depth = ch / (b * b);
      Tensor& y = c.Output(0, x.dtype(), {n, depth, h * b, w * b});
      constexpr int kDcr[] = {0, 3, 4, 1, 5, 2}, kCrd[] = {0, 1, 4, 2, 5, 3};
      if (dcr_)
        Permute(c, x, {n, b, b, depth, h, w}, kDcr, y);
      else
        Permute(c, x, {n, depth, b, b, h, w}, kCrd, y);
    } else {
      TK_REQUIRE(h % b == 0 && w % b == 0, ErrorKind::kShape,
                 "height and width must be multiples of ", b, ", got ", x.shape().ToString());
      Tensor& y = c.Output(0, x.dtype(), {n, ch * b * b, h / b, w / b});
      constexpr int kDcr[] = {0, 3, 5, 1, 2, 4}, kCrd[] = {0, 1, 3, 5, 2, 4};
      Permute(c, x, {n, ch, h / b, b, w / b, b}, dcr_ ? kDcr : kCrd, y);
    }
  }

 private:
  bool to_space_, dcr_;
  int64_t block_;
};

static const bool kMoves = Register<Transpose>("Transpose") && Register<Concat>("Concat") &&
                           Register<Split>("Split") && RegisterFn("Expand", Expand) &&
                           RegisterFn("Tile", Tile) && Register<DepthSpace>("DepthToSpace", true) &&
                           Register<DepthSpace>("SpaceToDepth", false);

}  // namespace
}  // namespace toolkit
