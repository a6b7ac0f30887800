#include "core/kernel.h"

namespace toolkit {

KernelRegistry& KernelRegistry::Global() {
  static KernelRegistry* registry = new KernelRegistry;
  return *registry;
}

void KernelRegistry::Add(KernelDef def) {
  defs_.push_back(std::make_unique<KernelDef>(std::move(def)));
  by_name_.emplace(defs_.back()->domain + ':' + defs_.back()->op_type, defs_.back().get());
}

const KernelDef* KernelRegistry::Find(const std::string& domain, const std::string& op_type) const {
  const std::string base = domain.empty() ? op_type : op_type.substr(0, op_type.find("__"));
  const auto it = by_name_.find(domain + ':' + base);
  return it == by_name_.end() ? nullptr : it->second;
}

std::vector<const KernelDef*> KernelRegistry::All() const {
  std::vector<const KernelDef*> all;
  for (const auto& def : defs_) all.push_back(def.get());
  return all;
}

namespace {

class FnKernel : public Kernel {
 public:
  explicit FnKernel(void (*run)(KernelContext&)) : run_(run) {}
  void Run(KernelContext& context) const override { run_(context); }

 private:
  void (*run_)(KernelContext&);
};

class HeapAllocator : public OutputAllocator {
 public:
  Tensor Allocate(int, DType dtype, const Shape& shape) override {
    return Tensor::Empty(dtype, shape);
  }
  void* Scratch(size_t bytes) override {
    scratch_.push_back(Buffer::Allocate(bytes));
    return scratch_.back()->data();
  }

 private:
  std::vector<std::shared_ptr<Buffer>> scratch_;
};

}  // namespace

Registration RegisterFn(const char* op_type, void (*run)(KernelContext&)) {
  KernelDef def;
  def.op_type = op_type;
  def.create = [run](const Attributes&) { return std::make_unique<FnKernel>(run); };
  return Registration(std::move(def));
}

void CheckDType(const KernelDef& def, const Tensor* const* inputs, int num_inputs) {
  for (int i = 0; i < num_inputs; ++i) {
    if (!inputs[i]) continue;
    if (!Contains(def.dtypes, inputs[i]->dtype())) FailDType(inputs[i]->dtype());
    return;
  }
}

void RunKernel(const KernelDef& def, const Kernel& kernel, const Tensor* const* inputs,
               int num_inputs, Tensor* outputs, int num_outputs) {
  CheckDType(def, inputs, num_inputs);
  constexpr int kFew = 8;
  Tensor* few[kFew];
  std::vector<Tensor*> many(num_outputs > kFew ? num_outputs : 0);
  Tensor** pointers = num_outputs > kFew ? many.data() : few;
  for (int i = 0; i < num_outputs; ++i) pointers[i] = &outputs[i];
  HeapAllocator allocator;
  KernelContext context(inputs, num_inputs, pointers, num_outputs, allocator);
  FlushDenormals flush;
  kernel.Run(context);
}

}  // namespace toolkit
