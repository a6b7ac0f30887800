// Cast and CastLike. One pass over memory, split by elements.
#include <cstring>

#include "kernels/elementwise.h"

namespace toolkit {
namespace {

constexpr DTypeSet kCastable = kAnyNumber | kBools;

// Half precision goes through float32 in both directions.
void Convert(KernelContext& c, DType to) {
  const Tensor& x = c.input(0);
  const DType from = x.dtype();
  TK_REQUIRE(Contains(kCastable, to), ErrorKind::kDType, "no conversion from ", Name(from), " to ",
             Name(to), " is available");
  const Tensor& y = c.Output(0, to, x.shape());
  if (from == to) {
    if (y.raw() != x.raw() && y.bytes()) std::memcpy(y.raw(), x.raw(), y.bytes());
    return;
  }
  const CastTable& table = CastFunctions();
  const bool widen = Contains(kHalves, from), narrow = Contains(kHalves, to);
  const Element source = widen ? Element::kF32 : ElementOf(from);
  const Element target = narrow ? Element::kF32 : ElementOf(to);
  UnaryFn steps[3];
  int count = 0;
  if (widen) steps[count++] = WidenHalf(from);
  if (to == DType::kBool)
    steps[count++] = table.to_bool[static_cast<int>(source)];
  else if (source != target)
    steps[count++] = table.fn[static_cast<int>(source)][static_cast<int>(target)];
  if (narrow) steps[count++] = NarrowHalf(to);
  if (count == 0) steps[count++] = table.fn[static_cast<int>(source)][static_cast<int>(target)];

  TileProgram p;
  auto v = p.Input(x);
  for (int i = 0; i < count; ++i) {
    const auto next = i + 1 == count ? TileProgram::kOutput : p.Temporary();
    p.Unary(steps[i], next, v);
    v = next;
  }
  p.Run(c.pool(), y, kCheapGrain);
}

class CastKernel : public Kernel {
 public:
  explicit CastKernel(const Attributes& a) : to_(static_cast<DType>(a.Int("to", 0))) {}
  void Run(KernelContext& c) const override { Convert(c, to_); }

 private:
  DType to_;
};

void CastLike(KernelContext& c) { Convert(c, c.input(1).dtype()); }

static const bool kCasts[] = {
    Register<CastKernel>("Cast").Types(kCastable),
    RegisterFn("CastLike", CastLike).Types(kCastable),
};

}  // namespace
}  // namespace toolkit
