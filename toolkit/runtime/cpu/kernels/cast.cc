// Cast and CastLike. One pass over memory, split by elements.
#include <cstring>

#include "kernels/convert.h"

namespace toolkit {

namespace {

constexpr DTypeSet kCastable = kAnyNumber | kBools | kNarrow | kStrings;

// -1 for what is no narrow float with a sign, or no narrow integer.
int NarrowFloatOf(DType t) {
  switch (t) {
    case DType::kFloat8E4M3FN:
      return static_cast<int>(NarrowFloat::kE4M3FN);
    case DType::kFloat8E4M3FNUZ:
      return static_cast<int>(NarrowFloat::kE4M3FNUZ);
    case DType::kFloat8E5M2:
      return static_cast<int>(NarrowFloat::kE5M2);
    case DType::kFloat8E5M2FNUZ:
      return static_cast<int>(NarrowFloat::kE5M2FNUZ);
    case DType::kFloat4E2M1:
      return static_cast<int>(NarrowFloat::kE2M1);
    case DType::kFloat6E2M3:
      return static_cast<int>(NarrowFloat::kE2M3);
    case DType::kFloat6E3M2:
      return static_cast<int>(NarrowFloat::kE3M2);
    default:
      return -1;
  }
}
int NarrowIntOf(DType t) {
  switch (t) {
    case DType::kUInt4:
      return static_cast<int>(NarrowInt::kU4);
    case DType::kInt4:
      return static_cast<int>(NarrowInt::kI4);
    case DType::kUInt2:
      return static_cast<int>(NarrowInt::kU2);
    case DType::kInt2:
      return static_cast<int>(NarrowInt::kI2);
    default:
      return -1;
  }
}

}  // namespace

Stored ReadAs(DType t, bool exact) {
  const NarrowTable& narrow = NarrowFunctions();
  if (Contains(kHalves, t)) return {Element::kF32, WidenHalf(t)};
  if (t == DType::kFloat8E8M0)
    return exact ? Stored{Element::kF64, narrow.decode_power_to_double}
                 : Stored{Element::kF32, narrow.decode_power};
  if (const int i = NarrowFloatOf(t); i >= 0) return {Element::kF32, narrow.decode[i]};
  if (const int i = NarrowIntOf(t); i >= 0) return {Element::kI8, narrow.extend[i]};
  return {ElementOf(t)};
}

Stored WriteAs(DType t) {
  const NarrowTable& narrow = NarrowFunctions();
  if (Contains(kHalves, t)) return {Element::kF32, NarrowHalf(t)};
  if (t == DType::kFloat8E8M0) return {Element::kF32, narrow.encode_power};
  if (const int i = NarrowFloatOf(t); i >= 0) return {Element::kF32, narrow.encode[i]};
  if (const int i = NarrowIntOf(t); i >= 0) return {Element::kI8, narrow.truncate[i]};
  return {ElementOf(t)};
}

Conversion::Conversion(DType from, DType to, Rounding rounding) : rounding_(rounding) {
  const Stored target = WriteAs(to);
  const bool through_float = target.fn && target.element == Element::kF32;
  const Stored source = ReadAs(from, !through_float && to != DType::kFloat);
  const CastTable& table = CastFunctions();
  const int s = static_cast<int>(source.element), t = static_cast<int>(target.element);
  const UnaryFn odd = through_float ? NarrowFunctions().to_float_odd[s] : nullptr;
  if (source.fn) Add(source.fn);
  if (to == DType::kBool)
    Add(table.to_bool[s]);
  else if (odd)
    Add(odd);
  else if (source.element != target.element || (!source.fn && !target.fn))
    Add(table.fn[s][t]);
  if (target.fn) Add(target.fn);
}

void Conversion::Run(ThreadPool& pool, const Tensor& x, const Tensor& y) const {
  TileProgram p;
  auto v = p.Input(x);
  for (int i = 0; i < count_; ++i) {
    const auto next = i + 1 == count_ ? TileProgram::kOutput : p.Temporary();
    p.Unary(steps_[i], next, v,
            {rounding_.saturate ? 1.0 : 0.0, static_cast<double>(rounding_.power)});
    v = next;
  }
  p.Run(pool, y, kCheapGrain);
}

namespace {

class CastKernel : public Kernel {
 public:
  CastKernel(const Attributes& a, bool like)
      : like_(like), to_(static_cast<DType>(a.Int("to", 0))) {
    const int64_t to = a.Int("to", 0);
    TK_REQUIRE(like || (to > 0 && to <= static_cast<int>(kLastElementType)), ErrorKind::kDType,
               "attribute to must be the number of an element type, got ", to);
    rounding_.saturate = a.Int("saturate", 1) != 0;
    const std::string mode = a.String("round_mode", "up");
    TK_REQUIRE(mode == "up" || mode == "down" || mode == "nearest", ErrorKind::kInvalidArgument,
               "attribute round_mode must be up, down or nearest, got '", mode, "'");
    rounding_.power = mode == "up"     ? PowerRounding::kUp
                      : mode == "down" ? PowerRounding::kDown
                                       : PowerRounding::kNearest;
  }

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const DType to = like_ ? c.input(1).dtype() : to_;
    TK_REQUIRE(Contains(kCastable, to), ErrorKind::kDType, "no conversion from ", Name(x.dtype()),
               " to ", Name(to), " is available");
    const Tensor& y = c.Output(0, to, x.shape());
    if (x.dtype() == to) {
      if (y.raw() != x.raw() && y.bytes()) std::memcpy(y.raw(), x.raw(), y.bytes());
    } else if (x.dtype() == DType::kString) {
      CastFromStrings(x, rounding_, y);
    } else if (to == DType::kString) {
      CastToStrings(c.pool(), x, y);
    } else {
      Conversion(x.dtype(), to, rounding_).Run(c.pool(), x, y);
    }
  }

 private:
  bool like_;
  DType to_;
  Rounding rounding_;
};

static const bool kCasts[] = {
    Register<CastKernel>("Cast", false).Types(kCastable),
    Register<CastKernel>("CastLike", true).Types(kCastable),
};

}  // namespace
}  // namespace toolkit
