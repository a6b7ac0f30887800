// float16 and bfloat16 for kernels that compute in float32: inputs are widened before the call and
// results narrowed after it. Two more passes over memory, each split by elements.
#include "core/kernel.h"
#include "simd/elementwise.h"

namespace toolkit {

namespace {

constexpr int64_t kGrain = 32768;

void Convert(ThreadPool& pool, UnaryFn fn, void* to, size_t to_item, const void* from,
             size_t from_item, int64_t n) {
  pool.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
    fn(static_cast<char*>(to) + begin * static_cast<int64_t>(to_item),
       static_cast<const char*>(from) + begin * static_cast<int64_t>(from_item), end - begin,
       nullptr);
  });
}

void Widen(ThreadPool& pool, const Tensor& half, float* to) {
  const CastTable& table = CastFunctions();
  const bool ieee = half.dtype() == DType::kFloat16;
  Convert(pool, ieee ? table.half_to_float : table.bfloat_to_float, to, 4, half.raw(), 2,
          half.size());
}

// Collects an inner kernel's float32 results in scratch memory where they are to be narrowed;
// other results go through.
class WideOutputs : public OutputAllocator {
 public:
  WideOutputs(KernelContext& context, const std::vector<int>& follows, DType half)
      : context_(context), wide_(context.num_outputs()) {
    for (int i = 0; i < context.num_outputs(); ++i) {
      pointers_.push_back(context.has_output(i) ? &wide_[i] : nullptr);
      const int leader = i < static_cast<int>(follows.size()) ? follows[i] : kFirstHalf;
      const Tensor* x = leader >= 0 ? context.optional_input(leader) : nullptr;
      targets_.push_back(x ? x->dtype() : leader == kWide ? DType::kFloat : half);
    }
  }
  Tensor Allocate(int output, DType dtype, const Shape& shape) override {
    if (!Narrows(output, dtype)) return context_.Output(output, dtype, shape);
    CheckedBytes(dtype, shape);
    return Tensor(dtype, shape, context_.Scratch<float>(shape.Count()));
  }
  void* Scratch(size_t bytes) override { return context_.Scratch<char>(bytes); }
  Tensor* const* pointers() const { return pointers_.data(); }

  void Narrow() {
    const CastTable& table = CastFunctions();
    for (int i = 0; i < context_.num_outputs(); ++i) {
      const Tensor& wide = wide_[i];
      if (!pointers_[i] || !wide.defined() || !Narrows(i, wide.dtype())) continue;
      const bool ieee = targets_[i] == DType::kFloat16;
      const Tensor& y = context_.Output(i, targets_[i], wide.shape());
      Convert(context_.pool(), ieee ? table.float_to_half : table.float_to_bfloat, y.raw(), 2,
              wide.raw(), 4, wide.size());
    }
  }

 private:
  static constexpr int kWide = -1, kFirstHalf = -2;
  bool Narrows(int output, DType dtype) const {
    return dtype == DType::kFloat && Contains(kHalves, targets_[output]);
  }
  KernelContext& context_;
  std::vector<Tensor> wide_;
  std::vector<Tensor*> pointers_;
  std::vector<DType> targets_;
};

class WideningKernel : public Kernel {
 public:
  WideningKernel(std::unique_ptr<Kernel> inner, std::vector<int> follows)
      : inner_(std::move(inner)), follows_(std::move(follows)) {}

  void Run(KernelContext& c) const override {
    const DType half = HalfOf(c);
    if (half == DType::kUndefined) return inner_->Run(c);
    const int n = c.num_inputs();
    std::vector<Tensor> wide(n);
    std::vector<const Tensor*> inputs(n);
    for (int i = 0; i < n; ++i) {
      inputs[i] = c.optional_input(i);
      if (!inputs[i] || !Contains(kHalves, inputs[i]->dtype())) continue;
      const Tensor& x = *inputs[i];
      if (const Tensor* constant = Constant(i)) {
        inputs[i] = constant;
        continue;
      }
      wide[i] = Tensor(DType::kFloat, x.shape(), c.Scratch<float>(x.size()));
      Widen(c.pool(), x, wide[i].data<float>());
      inputs[i] = &wide[i];
    }
    WideOutputs outputs(c, follows_, half);
    KernelContext inner(inputs.data(), n, outputs.pointers(), c.num_outputs(), outputs);
    inner_->Run(inner);
    outputs.Narrow();
  }

  void Prepack(int input, const Tensor& value) override {
    if (!Contains(kHalves, value.dtype())) return inner_->Prepack(input, value);
    Tensor wide = Tensor::Empty(DType::kFloat, value.shape());
    Widen(ThreadPool::Global(), value, wide.data<float>());
    inner_->Prepack(input, wide);
    constants_[input] = std::move(wide);
  }

  bool NeedsConstant(int input) const override {
    return constants_.count(input) || inner_->NeedsConstant(input);
  }
  size_t PackedBytes() const override {
    size_t bytes = inner_->PackedBytes();
    for (const auto& [input, value] : constants_) bytes += value.bytes();
    return bytes;
  }
  std::string Describe(const KernelContext& c) const override {
    return HalfOf(c) == DType::kUndefined ? inner_->Describe(c) : "widened";
  }

 private:
  const Tensor* Constant(int input) const {
    const auto it = constants_.find(input);
    return it == constants_.end() ? nullptr : &it->second;
  }
  // The type that results narrow to: that of the first half-precision input.
  static DType HalfOf(const KernelContext& c) {
    for (int i = 0; i < c.num_inputs(); ++i)
      if (c.has_input(i) && Contains(kHalves, c.input(i).dtype())) return c.input(i).dtype();
    return DType::kUndefined;
  }

  std::unique_ptr<Kernel> inner_;
  std::vector<int> follows_;
  std::unordered_map<int, Tensor> constants_;  // Widened at load.
};

}  // namespace

Registration&& Registration::Widen(std::vector<int> follows) && {
  def_.dtypes |= kHalves;
  auto inner = std::move(def_.create);
  def_.create = [inner, follows](const Attributes& a) -> std::unique_ptr<Kernel> {
    return std::make_unique<WideningKernel>(inner(a), follows);
  };
  return std::move(*this);
}

}  // namespace toolkit
