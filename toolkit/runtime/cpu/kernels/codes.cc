// Elementwise operators on 8-bit codes: toolkit.fused.QAdd, QMul and CodesTable. One pass over
// memory, split by elements.
#include "simd/codes.h"

#include <algorithm>

#include "kernels/gemm_int8.h"
#include "kernels/quantize.h"
#include "kernels/tile_program.h"

namespace toolkit {
namespace {

// (a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero) -> y: QuantizeLinear of f of two
// DequantizeLinear, after a Relu with `relu`. All codes are of one type.
class CodesBinary : public Kernel {
 public:
  CodesBinary(const Attributes& a, bool multiplies)
      : multiplies_(multiplies), relu_(a.Int("relu", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor &a = c.input(0), &b = c.input(3);
    const DType type = a.dtype();
    const bool is_signed = type == DType::kInt8;
    CodesArgs p;
    const auto zero = [&](int i) { return static_cast<float>(OneZero(c, i, type)); };
    p.a_scale = OneScale(c, 1), p.a_zero = zero(2);
    p.b_scale = OneScale(c, 4), p.b_zero = zero(5);
    p.scale = OneScale(c, 6), p.zero = zero(7);
    p.low = is_signed ? -128 : 0, p.high = p.low + 255;
    if (relu_) p.low = std::max(p.low, p.zero);
    TK_REQUIRE(b.dtype() == type, ErrorKind::kDType, "b must have a's dtype ", Name(type), ", got ",
               Name(b.dtype()));
    const CodesTable& table = CodesFunctions();
    const Tensor& y = c.Output(0, type, BroadcastShapes(a.shape(), b.shape()));
    TileProgram program;
    const TileProgram::Value left = program.Input(a), right = program.Input(b);
    program.Binary((multiplies_ ? table.mul : table.add)[is_signed ? 0 : 1], &p,
                   TileProgram::kOutput, left, right);
    program.Run(c.pool(), y, kCheapGrain);
  }

 private:
  bool multiplies_, relu_;
};

// (x, table of 256 codes by the bits of x's) -> y of the table's type.
void LookUpCodes(KernelContext& c) {
  const Tensor &x = c.input(0), &table = c.input(1);
  TK_REQUIRE(table.size() == 256 && Contains(kBytes, table.dtype()), ErrorKind::kShape,
             "a table of 256 bytes is required, got ", table.shape().ToString(), " of ",
             Name(table.dtype()));
  const Tensor& y = c.Output(0, table.dtype(), x.shape());
#if defined(__x86_64__)
  static const bool vbmi = __builtin_cpu_supports("avx512vbmi");
#else
  constexpr bool vbmi = false;
#endif
  const CodesTable& f = CodesFunctions();
  const auto look_up = vbmi && f.look_up_vbmi ? f.look_up_vbmi : f.look_up;
  c.pool().ParallelFor(x.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
    look_up(table.data<uint8_t>(), x.data<uint8_t>() + begin, end - begin,
            y.data<uint8_t>() + begin);
  });
}

static const bool kCodes[] = {
    Register<CodesBinary>("QAdd", false).Types(kBytes).Domain("toolkit.fused").Inplace(0, 0),
    Register<CodesBinary>("QMul", true).Types(kBytes).Domain("toolkit.fused").Inplace(0, 0),
    RegisterFn("CodesTable", LookUpCodes).Types(kBytes).Domain("toolkit.fused").Inplace(0, 0),
};

}  // namespace
}  // namespace toolkit
