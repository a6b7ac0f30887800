// MatMulInteger and QLinearMatMul: numpy.matmul of 8-bit integers less their zero points.
#include <algorithm>
#include <memory>
#include <vector>

#include "core/gemm.h"
#include "kernels/gemm_int8.h"
#include "kernels/matmul_shapes.h"
#include "kernels/quantize.h"

namespace toolkit {
namespace {

constexpr DTypeSet kFloat8 = Bit(DType::kFloat8E4M3FN) | Bit(DType::kFloat8E4M3FNUZ) |
                             Bit(DType::kFloat8E5M2) | Bit(DType::kFloat8E5M2FNUZ);

// Scales or zero points of an operand: one for all, or one for each row (column) of each of its
// matrices, or one for each row (column) of all of them.
class Lines {
 public:
  // `axis`: 1 for A's rows, 2 for B's columns: the place from the end of the one that may vary.
  Lines(const Tensor* x, const Shape& operand, bool rows, const char* name) {
    if (!x || x->size() == 1) return;
    const int rank = operand.rank();
    const int64_t count = rank == 1 ? 1 : operand[rows ? rank - 2 : rank - 1];
    if (x->rank() == 1 && x->dim(0) == count) {
      line_ = 1;
      return;
    }
    Shape want = operand;
    if (rank > 1) want[rows ? rank - 1 : rank - 2] = 1;
    TK_REQUIRE(rank > 1 && x->shape() == want, ErrorKind::kShape, name,
               " must be one number or one for each of the ", count, rows ? " rows" : " columns",
               ", got ", x->shape().ToString());
    line_ = 1, matrix_ = count;
  }
  int step() const { return line_; }
  int64_t offset(int64_t matrix) const { return matrix * matrix_; }

 private:
  int line_ = 0;
  int64_t matrix_ = 0;
};

// Zero points as numbers of the kind that the packed operand holds.
std::vector<int32_t> ZerosOf(const Tensor* zero, DType dtype, bool of_a, const char* name) {
  const int move = of_a ? (dtype == DType::kUInt8 ? -128 : 0) : (dtype == DType::kInt8 ? 128 : 0);
  if (!zero) return {move};
  TK_REQUIRE(zero->dtype() == dtype, ErrorKind::kDType, name, " must have dtype ", Name(dtype),
             ", got ", Name(zero->dtype()));
  std::vector<int32_t> values(static_cast<size_t>(zero->size()));
  for (int64_t i = 0; i < zero->size(); ++i)
    values[static_cast<size_t>(i)] =
        move + (dtype == DType::kInt8 ? zero->data<int8_t>()[i] : zero->data<uint8_t>()[i]);
  return values;
}

// What one product needs beside its operands: where rows [row, row + rows) of a matrix go.
using Finish = std::function<void(int64_t matrix, int64_t row, int rows, int64_t column, int64_t n,
                                  const int32_t* tile, TileFinish& f)>;

// All matrices of a product. `packed`: B, if it is one matrix that is known at load.
void Multiply(KernelContext& c, const Tensor& a, const Tensor& b, const MatMulShapes& s,
              const PackedColumns& packed, const Tensor* a_zero, const Tensor* b_zero,
              const Finish& finish) {
  const Lines a_lines(a_zero, a.shape(), true, "the zero point of A");
  const Lines b_lines(b_zero, b.shape(), false, "the zero point of B");
  const std::vector<int32_t> az = ZerosOf(a_zero, a.dtype(), true, "the zero point of A");
  const std::vector<int32_t> bz = ZerosOf(b_zero, b.dtype(), false, "the zero point of B");
  const uint8_t *x = a.data<uint8_t>(), *w = b.data<uint8_t>();
  const uint8_t flip_a = FlipOfA(a.dtype()), flip_b = FlipOfB(b.dtype());
  int64_t count = s.batch.Count(), rows = s.m;
  // One B and plain zero points: the batch of A is more rows.
  if (s.b_batch.Count() == 1 && (a_lines.step() == 0 || count == 1)) rows *= count, count = 1;
  PackedColumns columns = packed;
  int64_t packed_matrix = -1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t am = s.Source(s.a_batch, i), bm = s.Source(s.b_batch, i);
    const PackedRows left(rows, s.k, x + am * s.m * s.k, s.k, flip_a, &c);
    if (!packed.defined() && bm != packed_matrix) {
      columns = PackedColumns(s.k, s.n, w + bm * s.k * s.n, s.n, flip_b);
      packed_matrix = bm;
    }
    const ZeroPoints zero = {az.data() + a_lines.offset(am), a_lines.step(),
                             bz.data() + b_lines.offset(bm), b_lines.step()};
    Int8Gemm(left, columns, zero,
             [&](int64_t row, int height, int64_t j, int64_t n, const int32_t* tile,
                 TileFinish& f) { finish(i, row, height, j, n, tile, f); });
  }
}

class IntegerProduct : public Kernel {
 public:
  void Prepack(int input, const Tensor& b) override {
    if (input != b_input_ || b.rank() != 2 || !Contains(kBytes, b.dtype()) || b.size() == 0) return;
    packed_ = PackedColumns(b.dim(0), b.dim(1), b.data<uint8_t>(), b.dim(1), FlipOfB(b.dtype()));
  }

  size_t PackedBytes() const override { return packed_.bytes(); }

 protected:
  explicit IntegerProduct(int b_input) : b_input_(b_input) {}
  int b_input_;
  PackedColumns packed_;
};

class MatMulInteger : public IntegerProduct {
 public:
  explicit MatMulInteger(const Attributes&) : IntegerProduct(1) {}

  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(1);
    TK_REQUIRE(Contains(kBytes, b.dtype()), ErrorKind::kDType, "B must be int8 or uint8, got ",
               Name(b.dtype()));
    const MatMulShapes s(a.shape(), b.shape());
    const Tensor& y = c.Output(0, DType::kInt32, s.out);
    if (y.size() == 0) return;
    int32_t* out = y.data<int32_t>();
    Multiply(c, a, b, s, packed_, c.optional_input(2), c.optional_input(3),
             [&](int64_t matrix, int64_t row, int rows, int64_t j, int64_t n, const int32_t* tile,
                 TileFinish& f) {
               const TileRun run = {0, n, 0};
               Int8Functions().to_int32(f, rows, tile, &run, &run + 1,
                                        out + (matrix * s.m + row) * s.n + j, s.n);
             });
  }
};

// (a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero) -> y.
class QLinearMatMul : public IntegerProduct {
 public:
  explicit QLinearMatMul(const Attributes&) : IntegerProduct(3) {}

  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(3), &y_scale = c.input(6), &y_zero = c.input(7);
    for (int i : {1, 4, 6})
      TK_REQUIRE(Contains(kHalves | Bit(DType::kFloat), c.input(i).dtype()), ErrorKind::kDType,
                 "scales must be floats, got ", Name(c.input(i).dtype()));
    for (const Tensor* t : {&b, &y_zero})
      TK_REQUIRE(Contains(kBytes | kFloat8, t->dtype()), ErrorKind::kDType,
                 "operands must be integers or floats of 8 bits, got ", Name(t->dtype()));
    TK_REQUIRE(y_scale.size() == 1 && y_zero.size() == 1, ErrorKind::kShape,
               "y_scale and y_zero_point must be one number each, got ", y_scale.shape().ToString(),
               " and ", y_zero.shape().ToString());
    const MatMulShapes s(a.shape(), b.shape());
    const Scales scales(c, s, a, b);
    const bool floats = Contains(kFloat8, a.dtype());
    TK_REQUIRE(
        floats == Contains(kFloat8, b.dtype()) && floats == Contains(kFloat8, y_zero.dtype()),
        ErrorKind::kDType, "a, b and y must be all integers or all floats, got ", Name(a.dtype()),
        ", ", Name(b.dtype()), " and ", Name(y_zero.dtype()));
    const Tensor& y = c.Output(0, y_zero.dtype(), s.out);
    if (y.size() == 0) return;
    if (floats) return RunFloats(c, s, scales, y);
    const bool is_signed = y.dtype() == DType::kInt8;
    const int32_t zero = is_signed ? *y_zero.data<int8_t>() : *y_zero.data<uint8_t>();
    const FinishFn finish = is_signed ? Int8Functions().to_int8 : Int8Functions().to_uint8;
    uint8_t* out = y.data<uint8_t>();
    const int nr = ActiveInt8().nr;
    Multiply(c, a, b, s, packed_, c.optional_input(2), c.optional_input(5),
             [&](int64_t matrix, int64_t row, int rows, int64_t j, int64_t n, const int32_t* tile,
                 TileFinish& f) {
               float multipliers[kMaxInt8Rows * kMaxInt8Columns] = {};
               f.zero = zero, f.multiplier = multipliers;
               scales.Fill(matrix, row, rows, j, n, nr, multipliers, f);
               const TileRun run = {0, n, 0};
               finish(f, rows, tile, &run, &run + 1, out + (matrix * s.m + row) * s.n + j, s.n);
             });
  }

 private:
  // a_scale b_scale / y_scale of an element.
  class Scales {
   public:
    Scales(KernelContext& c, const MatMulShapes& s, const Tensor& a, const Tensor& b)
        : s_(s),
          a_lines_(&c.input(1), a.shape(), true, "a_scale"),
          b_lines_(&c.input(4), b.shape(), false, "b_scale"),
          a_(WidenedParameters(c, &c.input(1), c.input(1))),
          b_(WidenedParameters(c, &c.input(4), c.input(4))),
          y_(*WidenedParameters(c, &c.input(6), c.input(6))) {}

    // Of n columns of a row; returns their step.
    int Fill(int64_t matrix, int64_t row, int64_t j, int64_t n, float* out) const {
      const int64_t am = s_.Source(s_.a_batch, matrix), bm = s_.Source(s_.b_batch, matrix);
      const float a = a_[a_lines_.offset(am) + row * a_lines_.step()];
      const float* b = b_ + b_lines_.offset(bm) + j * b_lines_.step();
      if (b_lines_.step() == 0) n = 1;
      for (int64_t i = 0; i < n; ++i) out[i] = a * b[i] / y_;
      return b_lines_.step();
    }
    // Of a tile of nr columns, whose rows may be of several matrices.
    void Fill(int64_t matrix, int64_t row, int rows, int64_t j, int64_t n, int nr, float* out,
              TileFinish& f) const {
      const bool by_row = a_lines_.step() != 0 || s_.a_batch.Count() > 1;
      f.column_step = b_lines_.step(), f.row_step = by_row ? 1 : 0;
      const int step = f.column_step ? nr : 1;
      for (int i = 0; i < (by_row ? rows : 1); ++i)
        Fill(matrix + (row + i) / s_.m, (row + i) % s_.m, j, n, out + i * step);
    }

   private:
    const MatMulShapes& s_;
    Lines a_lines_, b_lines_;
    const float *a_, *b_;
    float y_;
  };

  // float8: products in float32.
  static void RunFloats(KernelContext& c, const MatMulShapes& s, const Scales& scales,
                        const Tensor& y) {
    const Tensor &a = c.input(0), &b = c.input(3);
    float* left = Shifted(c, a, c.input(2), true);
    float* right = Shifted(c, b, c.input(5), false);
    float* product = c.Scratch<float>(y.size());
    const float zero = *WidenedParameters(c, &c.input(7), c.input(7));
    for (int64_t i = 0; i < s.batch.Count(); ++i) {
      GemmArgs<float> g = {s.m, s.n, s.k};
      g.a = left + s.Source(s.a_batch, i) * s.m * s.k, g.lda = s.k;
      g.b = right + s.Source(s.b_batch, i) * s.k * s.n, g.ldb = s.n;
      g.c = product + i * s.m * s.n, g.ldc = s.n;
      Gemm(g);
      std::vector<float> multipliers(static_cast<size_t>(s.n));
      for (int64_t row = 0; row < s.m; ++row) {
        float* at = g.c + row * s.n;
        const int step = scales.Fill(i, row, 0, s.n, multipliers.data());
        for (int64_t j = 0; j < s.n; ++j)
          at[j] = at[j] * multipliers[static_cast<size_t>(j * step)] + zero;
      }
    }
    Conversion(DType::kFloat, y.dtype(), {})
        .Run(c.pool(), Tensor(DType::kFloat, y.shape(), product), y);
  }

  // An operand less its zero points, in float32.
  static float* Shifted(KernelContext& c, const Tensor& x, const Tensor& zero, bool rows) {
    TK_REQUIRE(zero.dtype() == x.dtype(), ErrorKind::kDType, "a zero point must have dtype ",
               Name(x.dtype()), ", got ", Name(zero.dtype()));
    const Lines lines(&zero, x.shape(), rows, "a zero point");
    const float* zeros = WidenedParameters(c, &zero, zero);
    float* values = c.Scratch<float>(x.size());
    Conversion(x.dtype(), DType::kFloat, {})
        .Run(c.pool(), x, Tensor(DType::kFloat, x.shape(), values));
    const int rank = x.rank();
    const int64_t n = x.dim(rank - 1), m = rank > 1 ? x.dim(rank - 2) : 1;
    for (int64_t i = 0; i < x.size(); ++i) {
      const int64_t line = rows ? i / n % m : i % n;
      values[i] -= zeros[lines.offset(i / (m * n)) + line * lines.step()];
    }
    return values;
  }
};

static const bool kMatMulInteger = Register<MatMulInteger>("MatMulInteger").Types(kBytes);
static const bool kQLinearMatMul = Register<QLinearMatMul>("QLinearMatMul").Types(kBytes | kFloat8);

}  // namespace
}  // namespace toolkit
