// What a kernel is, what it sees while it runs, and the registry that kernels enter themselves in.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/attributes.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace toolkit {

// Where outputs get their memory: the heap (eager) or a frame of a program (arena).
class OutputAllocator {
 public:
  virtual ~OutputAllocator() = default;
  virtual Tensor Allocate(int output, DType dtype, const Shape& shape) = 0;
  virtual void* Scratch(size_t bytes) = 0;
};

class KernelContext {
 public:
  KernelContext(const Tensor* const* inputs, int num_inputs, Tensor* const* outputs,
                int num_outputs, OutputAllocator& allocator)
      : inputs_(inputs),
        outputs_(outputs),
        num_inputs_(num_inputs),
        num_outputs_(num_outputs),
        allocator_(allocator) {}

  int num_inputs() const { return num_inputs_; }
  bool has_input(int i) const { return i < num_inputs_ && inputs_[i] != nullptr; }
  // A required input; fails when it is absent.
  const Tensor& input(int i) const {
    TK_REQUIRE(has_input(i), ErrorKind::kInvalidArgument, "input ", i, " is required, got none");
    return *inputs_[i];
  }
  const Tensor* optional_input(int i) const { return has_input(i) ? inputs_[i] : nullptr; }

  int num_outputs() const { return num_outputs_; }
  bool has_output(int i) const { return i < num_outputs_ && outputs_[i] != nullptr; }
  // Allocates output i, uninitialised. When the definition says Inplace(j, i) its memory may be
  // that of input j: read an element before its place is written.
  Tensor& Output(int i, DType dtype, const Shape& shape) {
    TK_REQUIRE(has_output(i), ErrorKind::kInvalidArgument, "output ", i, " was not asked for");
    *outputs_[i] = allocator_.Allocate(i, dtype, shape);
    return *outputs_[i];
  }
  // Output i is a view of input j under another shape; the definition must say View().
  void Alias(int i, const Tensor& value) {
    TK_REQUIRE(has_output(i), ErrorKind::kInvalidArgument, "output ", i, " was not asked for");
    *outputs_[i] = value;
  }
  // Output i is `value`, which owns its memory or is no tensor; the definition must say Gives().
  void Give(int i, Tensor value) {
    if (has_output(i)) *outputs_[i] = std::move(value);
  }
  // Uninitialised memory for this call only, aligned to 64 bytes.
  template <class T>
  T* Scratch(int64_t count) {
    return static_cast<T*>(allocator_.Scratch(static_cast<size_t>(count) * sizeof(T)));
  }
  ThreadPool& pool() const { return ThreadPool::Global(); }

 private:
  const Tensor* const* inputs_;
  Tensor* const* outputs_;
  int num_inputs_, num_outputs_;
  OutputAllocator& allocator_;
};

// Holds a node's parsed attributes. One object serves concurrent runs: Run keeps no state.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void Run(KernelContext& context) const = 0;
  // Called once at load for each constant input; a kernel may keep a packed copy.
  virtual void Prepack(int /*input*/, const Tensor& /*value*/) {}
  // Whether Run then still reads the elements of that input; of its type and shape it always may.
  virtual bool NeedsConstant(int /*input*/) const { return true; }
  // The bytes of those copies.
  virtual size_t PackedBytes() const { return 0; }
  // For profiles: which algorithm the run that just ended chose.
  virtual std::string Describe(const KernelContext& /*context*/) const { return ""; }
};

struct KernelDef {
  std::string domain;
  std::string op_type;
  std::function<std::unique_ptr<Kernel>(const Attributes&)> create;
  DTypeSet dtypes = kMovable;                // Accepted for the first input that is present.
  bool view = false;                         // Output 0 shares input 0's memory.
  bool gives = false;                        // Outputs bring their own memory.
  std::vector<std::pair<int, int>> inplace;  // (input, output) pairs that may share memory.
};

class KernelRegistry {
 public:
  static KernelRegistry& Global();
  void Add(KernelDef def);
  // Null when there is none. A specialised composite "Name__detail" finds the kernel of "Name".
  const KernelDef* Find(const std::string& domain, const std::string& op_type) const;
  std::vector<const KernelDef*> All() const;

 private:
  std::vector<std::unique_ptr<KernelDef>> defs_;
  std::unordered_map<std::string, const KernelDef*> by_name_;  // "domain:op_type".
};

// Registration reads as a declaration beside the kernel:
//   static const bool kRelu = Register<ReluKernel>("Relu").Types(kFloats).Inplace(0, 0);
class Registration {
 public:
  explicit Registration(KernelDef def) : def_(std::move(def)) {}
  Registration(Registration&&) = default;
  ~Registration() {
    if (def_.create) KernelRegistry::Global().Add(std::move(def_));
  }
  Registration&& Types(DTypeSet dtypes) && { return def_.dtypes = dtypes, std::move(*this); }
  Registration&& View() && { return def_.view = true, std::move(*this); }
  Registration&& Gives() && { return def_.gives = true, std::move(*this); }
  // Takes float16 and bfloat16 too: such inputs are widened to float32, and float32 results narrow
  // again. Output i narrows to the type of input `follows[i]`; -1: it stays float32; beyond the
  // list, or where that input is absent, to the type of the first input of half precision. Call it
  // after Types.
  Registration&& Widen(std::vector<int> follows = {}) &&;
  Registration&& Inplace(int input, int output) && {
    return def_.inplace.emplace_back(input, output), std::move(*this);
  }
  Registration&& Domain(const char* domain) && { return def_.domain = domain, std::move(*this); }
  operator bool() && { return true; }

 private:
  KernelDef def_;
};

// K is constructed from `const Attributes&` and then the extra arguments.
template <class K, class... Extra>
Registration Register(const char* op_type, Extra... extra) {
  KernelDef def;
  def.op_type = op_type;
  def.create = [extra...](const Attributes& attributes) -> std::unique_ptr<Kernel> {
    return std::make_unique<K>(attributes, extra...);
  };
  return Registration(std::move(def));
}

// For kernels without attributes: a plain function.
Registration RegisterFn(const char* op_type, void (*run)(KernelContext&));

// Runs one operator outside any program: outputs on the heap. Absent inputs are null.
void RunKernel(const KernelDef& def, const Kernel& kernel, const Tensor* const* inputs,
               int num_inputs, Tensor* outputs, int num_outputs);

// Fails unless `def` accepts the dtype of the first present input.
void CheckDType(const KernelDef& def, const Tensor* const* inputs, int num_inputs);

}  // namespace toolkit
