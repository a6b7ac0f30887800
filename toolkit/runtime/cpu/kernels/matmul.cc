// MatMul and Gemm, and their twins in toolkit.fused, which transpose as they read, add a bias and
// apply a function while the result is in cache.
#include <cmath>
#include <memory>

#include "core/gemm.h"
#include "core/kernel.h"
#include "kernels/elementwise.h"
#include "kernels/fused.h"
#include "kernels/matmul_shapes.h"

namespace toolkit {
namespace {

constexpr DTypeSet kTypes =
    kFloats | Bit(DType::kInt32) | Bit(DType::kInt64) | Bit(DType::kUInt32) | Bit(DType::kUInt64);

template <class Fn>
decltype(auto) DispatchTypes(DType t, Fn&& fn) {
  switch (t) {
    case DType::kFloat:
      return fn(TypeTag<float>{});
    case DType::kDouble:
      return fn(TypeTag<double>{});
    case DType::kInt32:
      return fn(TypeTag<int32_t>{});
    case DType::kInt64:
      return fn(TypeTag<int64_t>{});
    case DType::kUInt32:
      return fn(TypeTag<uint32_t>{});
    case DType::kUInt64:
      return fn(TypeTag<uint64_t>{});
    default:
      FailDType(t);
  }
}

void RequireSameType(const Tensor& a, const Tensor& b, const char* name) {
  TK_REQUIRE(a.dtype() == b.dtype(), ErrorKind::kDType, name, " must have A's dtype ",
             Name(a.dtype()), ", got ", Name(b.dtype()));
}

// A constant right operand, packed once at load.
class PackedRight {
 public:
  void Pack(const Tensor& b, bool trans) {
    if (b.rank() != 2 || !Contains(kTypes, b.dtype())) return;
    const int64_t k = b.dim(trans ? 1 : 0), n = b.dim(trans ? 0 : 1);
    if (k == 0 || n == 0) return;
    DispatchTypes(b.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      packed_ = Buffer::Allocate(static_cast<size_t>(PackedGemmBSize<T>(k, n)) * sizeof(T));
      PackGemmB<T>(trans, k, n, b.data<T>(), b.dim(1), reinterpret_cast<T*>(packed_->data()));
    });
  }
  size_t bytes() const { return packed_ ? packed_->bytes() : 0; }
  template <class T>
  const T* data() const {
    return packed_ ? reinterpret_cast<const T*>(packed_->data()) : nullptr;
  }

 private:
  std::shared_ptr<Buffer> packed_;
};

// numpy.matmul. Attributes of the fused twin: transA, transB (of the last two axes), map; a third
// input is added to each row.
class MatMul : public Kernel {
 public:
  explicit MatMul(const Attributes& a)
      : trans_a_(a.Int("transA", 0) != 0), trans_b_(a.Int("transB", 0) != 0), map_(a) {}

  void Prepack(int input, const Tensor& value) override {
    if (input == 1) packed_.Pack(value, trans_b_);
  }
  bool NeedsConstant(int input) const override { return input != 1 || !packed_.bytes(); }
  size_t PackedBytes() const override { return packed_.bytes(); }

  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(1);
    RequireSameType(a, b, "B");
    const MatMulShapes s(Swapped(a.shape(), trans_a_), Swapped(b.shape(), trans_b_));
    const Tensor* bias = c.optional_input(2);
    if (bias) {
      RequireSameType(a, *bias, "the bias");
      TK_REQUIRE(bias->size() == s.n, ErrorKind::kShape, "a bias of ", s.n,
                 " elements is required, got shape ", bias->shape().ToString());
    }
    Tensor& y = c.Output(0, a.dtype(), s.out);
    if (y.size() == 0) return;
    DispatchTypes(a.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      Multiply<T>(c, s, a.data<T>(), b.data<T>(), bias ? bias->data<T>() : nullptr, y.data<T>());
    });
  }

 private:
  static Shape Swapped(const Shape& shape, bool swap) {
    if (!swap) return shape;
    TK_REQUIRE(shape.rank() > 1, ErrorKind::kShape,
               "a transposed operand must be a matrix or a stack of them, got ", shape.ToString());
    Shape result(shape.begin(), shape.rank() - 2);
    result.push_back(shape[shape.rank() - 1]);
    result.push_back(shape[shape.rank() - 2]);
    return result;
  }

  template <class T>
  void Multiply(KernelContext& c, const MatMulShapes& s, const T* a, const T* b, const T* bias,
                T* y) const {
    GemmArgs<T> g = {s.m, s.n, s.k};
    g.trans_a = trans_a_, g.trans_b = trans_b_;
    g.lda = trans_a_ ? s.m : s.k, g.ldb = trans_b_ ? s.k : s.n, g.ldc = s.n;
    g.col_bias = bias;
    map_.Apply(g);
    int64_t count = s.batch.Count();
    if (s.b_batch.Count() == 1) g.packed_b = packed_.data<T>();
    if (s.b_batch.Count() == 1 && !trans_a_) {  // One B: the batch of A is more rows.
      g.m *= count;
      count = 1;
    }
    const auto one = [&](int64_t i) {
      GemmArgs<T> call = g;
      call.a = a + s.Source(s.a_batch, i) * s.m * s.k;
      call.b = g.packed_b ? nullptr : b + s.Source(s.b_batch, i) * s.k * s.n;
      call.c = y + i * s.m * s.n;
      Gemm(call);
    };
    if (count < 2 * c.pool().num_threads()) {
      for (int64_t i = 0; i < count; ++i) one(i);
      return;
    }
    const int64_t work = s.m * s.n * std::max<int64_t>(s.k, 1);
    c.pool().ParallelFor(count, 1 + 32768 / work, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one(i);
    });
  }

  bool trans_a_, trans_b_;
  FusedMap map_;
  PackedRight packed_;
};

// Y = alpha op(A) op(B) + beta C, C broadcast to (M, N).
class GemmOp : public Kernel {
 public:
  explicit GemmOp(const Attributes& attributes)
      : alpha_(attributes.Float("alpha", 1.0)),
        beta_(attributes.Float("beta", 1.0)),
        trans_a_(attributes.Int("transA", 0) != 0),
        trans_b_(attributes.Int("transB", 0) != 0),
        map_(attributes) {}

  void Prepack(int input, const Tensor& value) override {
    if (input == 1) packed_.Pack(value, trans_b_);
  }
  bool NeedsConstant(int input) const override { return input != 1 || !packed_.bytes(); }
  size_t PackedBytes() const override { return packed_.bytes(); }

  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(1);
    RequireSameType(a, b, "B");
    TK_REQUIRE(a.rank() == 2 && b.rank() == 2, ErrorKind::kShape,
               "A and B must be matrices, got A ", a.shape().ToString(), " and B ",
               b.shape().ToString());
    const int64_t m = a.dim(trans_a_), k = a.dim(!trans_a_), n = b.dim(!trans_b_);
    TK_REQUIRE(k == b.dim(trans_b_), ErrorKind::kShape,
               MatMulShapes::AsTorchSays({m, k}, {b.dim(trans_b_), n}),
               ": inner dimensions must match, got ", trans_a_ ? "transposed A " : "A ",
               a.shape().ToString(), " and ", trans_b_ ? "transposed B " : "B ",
               b.shape().ToString());
    if (!Contains(kFloats, a.dtype()))
      TK_REQUIRE(IsWhole(alpha_) && IsWhole(beta_), ErrorKind::kInvalidArgument,
                 "alpha and beta must be whole and below 2^53 for ", Name(a.dtype()), ", got ",
                 alpha_, " and ", beta_);
    if (const Tensor* bias = c.optional_input(2)) CheckBias(a, *bias, m, n);
    Tensor& y = c.Output(0, a.dtype(), {m, n});
    if (y.size() == 0) return;
    DispatchTypes(a.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      GemmArgs<T> g = {m, n, k};
      g.alpha = As<T>(alpha_);
      g.a = a.data<T>(), g.lda = a.dim(1), g.trans_a = trans_a_;
      g.packed_b = packed_.data<T>();
      if (!g.packed_b) g.b = b.data<T>(), g.ldb = b.dim(1), g.trans_b = trans_b_;
      g.c = y.data<T>(), g.ldc = n;
      if (const Tensor* bias = c.optional_input(2)) AddBias(c, *bias, g);
      map_.Apply(g);
      Gemm(g);
    });
  }

 private:
  static bool IsWhole(double v) { return std::floor(v) == v && std::abs(v) < 0x1p53; }
  template <class T>
  static T As(double v) {
    if constexpr (std::is_floating_point_v<T>)
      return static_cast<T>(v);
    else
      return static_cast<T>(static_cast<int64_t>(v));  // -1 wraps in an unsigned type.
  }
  template <class T>
  static T Times(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
      return a * b;
    else
      return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
  static void CheckBias(const Tensor& a, const Tensor& bias, int64_t m, int64_t n) {
    RequireSameType(a, bias, "C");
    const Shape& s = bias.shape();
    const int64_t columns = s.rank() > 0 ? s[s.rank() - 1] : 1;
    const int64_t rows = s.rank() > 1 ? s[0] : 1;
    TK_REQUIRE(s.rank() <= 2 && (rows == 1 || rows == m) && (columns == 1 || columns == n),
               ErrorKind::kShape, "C must broadcast to (", m, ", ", n, "), got ", s.ToString());
  }

  template <class T>
  void AddBias(KernelContext& c, const Tensor& bias, GemmArgs<T>& g) const {
    const T beta = As<T>(beta_);
    const T* x = bias.data<T>();
    const Shape& s = bias.shape();
    const int64_t columns = s.rank() > 0 ? s[s.rank() - 1] : 1;
    const int64_t rows = s.rank() > 1 ? s[0] : 1;
    if (rows == g.m && columns == g.n && rows > 1) {
      std::memcpy(g.c, x, bias.bytes());
      g.beta = beta;
      return;
    }
    const bool by_row = rows > 1;
    const int64_t have = by_row ? rows : columns, need = by_row ? g.m : g.n;
    if (beta != T(1) || have != need) {
      T* scaled = c.Scratch<T>(need);
      for (int64_t i = 0; i < need; ++i) scaled[i] = Times(beta, x[have == 1 ? 0 : i]);
      x = scaled;
    }
    (by_row ? g.row_bias : g.col_bias) = x;
  }

  double alpha_, beta_;
  bool trans_a_, trans_b_;
  FusedMap map_;
  PackedRight packed_;
};

static const bool kMatMul = Register<MatMul>("MatMul").Types(kTypes).Widen();
static const bool kGemm = Register<GemmOp>("Gemm").Types(kTypes).Widen();
static const bool kFused[] = {
    Register<MatMul>("MatMul").Domain("toolkit.fused").Types(kTypes).Widen(),
    Register<GemmOp>("Gemm").Domain("toolkit.fused").Types(kTypes).Widen(),
};

}  // namespace
}  // namespace toolkit
