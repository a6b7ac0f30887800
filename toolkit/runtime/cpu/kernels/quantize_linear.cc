// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear. One pass over memory, split by
// elements; types without vector code go through tiles of float32.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/quantize.h"

namespace toolkit {

Granularity::Granularity(const Shape& x, const Shape& scale, int64_t axis, int64_t block_size) {
  TK_REQUIRE(block_size >= 0, ErrorKind::kInvalidArgument,
             "attribute block_size must not be negative, got ", block_size);
  if (scale.rank() <= 1 && scale.Count() == 1) return;
  const int at = x.rank() == 1 ? 0 : NormalizeAxis(axis, x.rank());
  axis_ = x[at], inner_ = x.Count(at + 1, x.rank());
  if (block_size == 0) {
    TK_REQUIRE(scale.rank() == 1 && scale[0] == axis_, ErrorKind::kShape,
               "the scale must be one number or one for each index of axis ", at, " of ",
               x.ToString(), ", got ", scale.ToString(), ". Blocks require attribute block_size");
    kind_ = kAxis;
    block_ = std::max<int64_t>(axis_, 1);
    return;
  }
  kind_ = kBlocked;
  block_ = block_size;
  blocks_ = axis_ / block_size + (axis_ % block_size != 0);
  Shape want = x;
  want[at] = blocks_;
  TK_REQUIRE(scale == want, ErrorKind::kShape, "the scale of blocks of ", block_size, " must be ",
             want.ToString(), ", got ", scale.ToString());
}

const float* WidenedParameters(KernelContext& c, const Tensor* x, const Tensor& like) {
  if (x && x->dtype() == DType::kFloat) return x->data<float>();
  float* wide = c.Scratch<float>(std::max<int64_t>(like.size(), 1));
  std::fill_n(wide, std::max<int64_t>(like.size(), 1), 0.0f);
  if (x)
    Conversion(x->dtype(), DType::kFloat, {})
        .Run(c.pool(), *x, Tensor(DType::kFloat, x->shape(), wide));
  return wide;
}

float OneScale(KernelContext& c, int input) {
  const Tensor& t = c.input(input);
  TK_REQUIRE(t.dtype() == DType::kFloat && t.size() == 1, ErrorKind::kShape,
             "scales must be one float32 number each, got ", t.shape().ToString(), " of ",
             Name(t.dtype()));
  return *t.data<float>();
}

int32_t OneZero(KernelContext& c, int input, DType type) {
  const Tensor& t = c.input(input);
  TK_REQUIRE(t.dtype() == type && t.size() == 1, ErrorKind::kShape,
             "zero points must be one number each of dtype ", Name(type), ", got ",
             t.shape().ToString(), " of ", Name(t.dtype()));
  return type == DType::kInt8 ? *t.data<int8_t>() : *t.data<uint8_t>();
}

void CheckZeroPoint(const Tensor* zero, const Tensor& scale, DType dtype) {
  if (!zero) return;
  TK_REQUIRE(zero->dtype() == dtype, ErrorKind::kDType, "the zero point must have dtype ",
             Name(dtype), ", got ", Name(zero->dtype()));
  // Files mix a scalar with a vector of one element.
  TK_REQUIRE(zero->shape() == scale.shape() || (zero->size() == 1 && scale.size() == 1),
             ErrorKind::kShape, "the zero point must have the scale's shape ",
             scale.shape().ToString(), ", got ", zero->shape().ToString());
}

namespace {

constexpr DTypeSet kScales =
    Bit(DType::kFloat) | kHalves | Bit(DType::kInt32) | Bit(DType::kFloat8E8M0);
constexpr DTypeSet kBytesAndWords =
    Bit(DType::kInt8) | Bit(DType::kUInt8) | Bit(DType::kInt16) | Bit(DType::kUInt16);
constexpr DTypeSet kQuantizedTypes = kBytesAndWords | (kNarrow & ~Bit(DType::kFloat8E8M0));
constexpr DTypeSet kNarrowInts =
    Bit(DType::kInt4) | Bit(DType::kUInt4) | Bit(DType::kInt2) | Bit(DType::kUInt2);
constexpr int64_t kTile = 512;

Quantized QuantizedOf(DType t) {
  switch (t) {
    case DType::kUInt8:
      return Quantized::kU8;
    case DType::kInt16:
      return Quantized::kI16;
    case DType::kUInt16:
      return Quantized::kU16;
    case DType::kInt32:
      return Quantized::kI32;
    default:
      return Quantized::kI8;
  }
}

struct Limits {
  float low, high;
};
Limits LimitsOf(DType t) {
  switch (t) {
    case DType::kInt8:
      return {-128, 127};
    case DType::kUInt8:
      return {0, 255};
    case DType::kInt16:
      return {-32768, 32767};
    case DType::kUInt16:
      return {0, 65535};
    case DType::kInt4:
      return {-8, 7};
    case DType::kUInt4:
      return {0, 15};
    case DType::kInt2:
      return {-2, 1};
    default:
      return {0, 3};
  }
}

Precision PrecisionOf(DType t) {
  return t == DType::kFloat16    ? Precision::kFloat16
         : t == DType::kBFloat16 ? Precision::kBFloat16
                                 : Precision::kFloat;
}

DType ParseType(const Attributes& a, const char* name, DTypeSet allowed) {
  const int64_t t = a.Int(name, 0);
  TK_REQUIRE(t == 0 || (t > 0 && t < 64 && Contains(allowed, static_cast<DType>(t))),
             ErrorKind::kDType, "attribute ", name, " must be a type of the operator, got ", t);
  return static_cast<DType>(t);
}

class QuantizeLinear : public Kernel {
 public:
  explicit QuantizeLinear(const Attributes& a)
      : axis_(a.Int("axis", 1)),
        block_size_(a.Int("block_size", 0)),
        output_dtype_(ParseType(a, "output_dtype", kQuantizedTypes)),
        precision_(ParseType(a, "precision", Bit(DType::kFloat) | kHalves)) {
    rounding_.saturate = a.Int("saturate", 1) != 0;
  }

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &scale = c.input(1), *zero = c.optional_input(2);
    TK_REQUIRE(Contains(kScales, scale.dtype()), ErrorKind::kDType,
               "y_scale must be a float or int32, got ", Name(scale.dtype()));
    const DType to = zero                                 ? zero->dtype()
                     : output_dtype_ != DType::kUndefined ? output_dtype_
                                                          : DType::kUInt8;
    TK_REQUIRE(Contains(kQuantizedTypes, to), ErrorKind::kDType,
               "y_zero_point must have a quantized type, got ", Name(to));
    TK_REQUIRE(output_dtype_ == DType::kUndefined || output_dtype_ == to, ErrorKind::kDType,
               "attribute output_dtype must be y_zero_point's dtype ", Name(to), ", got ",
               Name(output_dtype_));
    CheckZeroPoint(zero, scale, to);
    const Granularity granularity(x.shape(), scale.shape(), axis_, block_size_);
    const Tensor& y = c.Output(0, to, x.shape());
    Work work;
    work.precision = precision_ == DType::kUndefined ? scale.dtype() : precision_;
    work.scale = Rounded(c, WidenedParameters(c, &scale, scale), scale, work.precision);
    work.zero = WidenedParameters(c, zero, scale);
    work.whole = scale.dtype() == DType::kInt32 && x.dtype() == DType::kInt32;
    work.rounds = Contains(kBytesAndWords | kNarrowInts, to);
    c.pool().ParallelFor(x.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
      granularity.ForEachSpan(begin, end, [&](int64_t at, int64_t n, int64_t index, int step) {
        const Affine affine = {work.scale + index, work.zero + index, step};
        Span(x, y, at, n, affine, work);
      });
    });
  }

 private:
  struct Work {
    DType precision;
    const float *scale, *zero;
    bool whole;   // A quotient of integers: in float64,
    bool rounds;  // and to be rounded to one.
  };

  // Values at a precision that their own type may exceed.
  static const float* Rounded(KernelContext& c, const float* x, const Tensor& from,
                              DType precision) {
    if (!Contains(kHalves, precision) || from.dtype() == precision) return x;
    float* rounded = c.Scratch<float>(std::max<int64_t>(from.size(), 1));
    std::copy_n(x, from.size(), rounded);
    RoundTo(precision, rounded, from.size());
    return rounded;
  }
  static void RoundTo(DType precision, float* x, int64_t n) {
    uint16_t half[kTile];
    for (int64_t i = 0; i < n; i += kTile) {
      const int64_t count = std::min(kTile, n - i);
      NarrowHalf(precision)(half, x + i, count, nullptr);
      WidenHalf(precision)(x + i, half, count, nullptr);
    }
  }

  void Span(const Tensor& x, const Tensor& y, int64_t at, int64_t n, Affine affine,
            const Work& work) const {
    const QuantizeTable& table = QuantizeFunctions();
    const int precision = static_cast<int>(PrecisionOf(work.precision));
    const DType to = y.dtype();
    const QuantizeFn quantize = table.quantize[precision][static_cast<int>(QuantizedOf(to))];
    const Limits limits = LimitsOf(to);
    char* out = y.data<char>() + at * static_cast<int64_t>(ItemSize(to));
    const bool direct = x.dtype() == DType::kFloat && work.precision != DType::kFloat16 &&
                        work.precision != DType::kBFloat16;
    if (direct && Contains(kBytesAndWords, to))
      return quantize(out, x.data<float>() + at, n, affine, limits.low, limits.high);
    const Stored target = WriteAs(to);
    const double params[2] = {rounding_.saturate ? 1.0 : 0.0, 0};
    for (int64_t i = 0; i < n; i += kTile) {
      const int64_t count = std::min(kTile, n - i);
      float values[kTile];
      int8_t codes[kTile];
      Affine a = affine;
      if (affine.step) a.scale += i, a.zero += i;
      Load(x, at + i, count, a, work, values);
      if (work.whole) a.scale = Ones();
      if (Contains(kBytesAndWords, to)) {
        quantize(out + i * static_cast<int64_t>(ItemSize(to)), values, count, a, limits.low,
                 limits.high);
      } else if (Contains(kNarrowInts, to)) {
        quantize(codes, values, count, a, limits.low, limits.high);
        target.fn(out + i, codes, count, params);
      } else {
        table.divide[precision](values, values, count, a);
        target.fn(out + i, values, count, params);
      }
    }
  }

  static const float* Ones() {
    static const std::vector<float> ones(kTile, 1.0f);
    return ones.data();
  }

  // Numbers to be divided, in float32 at the division's precision; or, of integers, quotients.
  static void Load(const Tensor& x, int64_t at, int64_t n, const Affine& a, const Work& work,
                   float* values) {
    if (work.whole) {
      // Beyond 2^20 all saturate; integers round here, since float32 may not hold the quotient.
      for (int64_t i = 0; i < n; ++i) {
        const double q = x.data<int32_t>()[at + i] / static_cast<double>(a.scale[a.step * i]);
        const double bounded = std::min(std::max(q, -0x1p20), 0x1p20);
        values[i] = static_cast<float>(work.rounds ? std::nearbyint(bounded) : bounded);
      }
      return;
    }
    const char* from = x.data<char>() + at * static_cast<int64_t>(ItemSize(x.dtype()));
    const Stored source = ReadAs(x.dtype(), false);
    const UnaryFn read =
        source.fn
            ? source.fn
            : CastFunctions().fn[static_cast<int>(source.element)][static_cast<int>(Element::kF32)];
    read(values, from, n, nullptr);
    if (Contains(kHalves, work.precision) && x.dtype() != work.precision)
      RoundTo(work.precision, values, n);
  }

  int64_t axis_, block_size_;
  DType output_dtype_, precision_;
  Rounding rounding_;
};

class DequantizeLinear : public Kernel {
 public:
  explicit DequantizeLinear(const Attributes& a)
      : axis_(a.Int("axis", 1)),
        block_size_(a.Int("block_size", 0)),
        output_dtype_(ParseType(a, "output_dtype", Bit(DType::kFloat) | kHalves)) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &scale = c.input(1), *zero = c.optional_input(2);
    const DType to = output_dtype_ != DType::kUndefined ? output_dtype_ : scale.dtype();
    TK_REQUIRE(Contains(kScales & ~Bit(DType::kInt32), scale.dtype()), ErrorKind::kDType,
               "x_scale must be a float, got ", Name(scale.dtype()));
    TK_REQUIRE(to != DType::kFloat8E8M0, ErrorKind::kDType,
               "attribute output_dtype is required for a scale of float8_e8m0fnu, got none");
    CheckZeroPoint(zero, scale, x.dtype());
    const Granularity granularity(x.shape(), scale.shape(), axis_, block_size_);
    const Tensor& y = c.Output(0, to, x.shape());
    const float* scales = WidenedParameters(c, &scale, scale);
    const float* zeros = WidenedParameters(c, zero, scale);
    c.pool().ParallelFor(x.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
      granularity.ForEachSpan(begin, end, [&](int64_t at, int64_t n, int64_t index, int step) {
        Span(x, y, at, n, {scales + index, zeros + index, step});
      });
    });
  }

 private:
  static void Span(const Tensor& x, const Tensor& y, int64_t at, int64_t n, const Affine& affine) {
    const QuantizeTable& table = QuantizeFunctions();
    const DType from = x.dtype();
    const Stored source = ReadAs(from, false);
    const DequantizeFn dequantize = table.dequantize[static_cast<int>(QuantizedOf(from))];
    const bool half = y.dtype() != DType::kFloat;
    const char* in = x.data<char>() + at * static_cast<int64_t>(ItemSize(from));
    if (!half && !source.fn) return dequantize(y.data<float>() + at, in, n, affine);
    for (int64_t i = 0; i < n; i += kTile) {
      const int64_t count = std::min(kTile, n - i);
      float values[kTile];
      int8_t codes[kTile];
      Affine a = affine;
      if (affine.step) a.scale += i, a.zero += i;
      float* result = half ? values : y.data<float>() + at + i;
      const char* elements = in + i * static_cast<int64_t>(ItemSize(from));
      if (!source.fn) {
        dequantize(result, elements, count, a);
      } else if (source.element == Element::kI8) {
        source.fn(codes, elements, count, nullptr);
        dequantize(result, codes, count, a);
      } else {
        source.fn(values, elements, count, nullptr);
        table.multiply(result, values, count, a);
      }
      if (half) NarrowHalf(y.dtype())(y.data<uint16_t>() + at + i, values, count, nullptr);
    }
  }

  int64_t axis_, block_size_;
  DType output_dtype_;
};

// y_scale = (max(x, 0) - min(x, 0)) / 255; two passes over x.
void DynamicQuantizeLinear(KernelContext& c) {
  const Tensor& x = c.input(0);
  const QuantizeTable& table = QuantizeFunctions();
  constexpr int64_t kBlock = 65536;
  const int64_t blocks = (x.size() + kBlock - 1) / kBlock;
  std::vector<float> low(static_cast<size_t>(blocks) + 1, 0.0f), high = low;
  c.pool().ParallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const auto i = static_cast<size_t>(b);
      table.range(x.data<float>() + b * kBlock, std::min(kBlock, x.size() - b * kBlock), &low[i],
                  &high[i]);
    }
  });
  const float least = *std::min_element(low.begin(), low.end());
  const float most = *std::max_element(high.begin(), high.end());
  const float scale = (least == most ? 1.0f : most - least) / 255.0f;
  const float zero = std::nearbyint(std::min(std::max(0.0f - least / scale, 0.0f), 255.0f));
  if (c.has_output(0)) {
    const Tensor& y = c.Output(0, DType::kUInt8, x.shape());
    const QuantizeFn quantize = table.quantize[0][static_cast<int>(Quantized::kU8)];
    c.pool().ParallelFor(x.size(), kCheapGrain, [&](int64_t begin, int64_t end) {
      quantize(y.data<uint8_t>() + begin, x.data<float>() + begin, end - begin, {&scale, &zero, 0},
               0, 255);
    });
  }
  if (c.has_output(1)) *c.Output(1, DType::kFloat, {}).data<float>() = scale;
  if (c.has_output(2)) *c.Output(2, DType::kUInt8, {}).data<uint8_t>() = static_cast<uint8_t>(zero);
}

static const bool kQuantization[] = {
    Register<QuantizeLinear>("QuantizeLinear")
        .Types(Bit(DType::kFloat) | kHalves | Bit(DType::kInt32)),
    Register<DequantizeLinear>("DequantizeLinear").Types(kQuantizedTypes | Bit(DType::kInt32)),
    RegisterFn("DynamicQuantizeLinear", DynamicQuantizeLinear).Types(Bit(DType::kFloat)),
};

}  // namespace
}  // namespace toolkit
