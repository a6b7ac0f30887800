// Running a program: frames, kernel calls, outputs and state updates.
#include <algorithm>
#include <chrono>

#include "core/frame.h"
#include "core/program.h"
#include "core/strings.h"

namespace toolkit {

namespace {
constexpr size_t kMaxPlans = 32;  // Input signatures remembered.
constexpr size_t kMaxFrames = 8;  // Idle frames kept for concurrent callers.
constexpr size_t kAlign = 64;
size_t Align(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
}  // namespace

Frame::Frame(const Program& p) : program(p), slots(p.slots_) {}

void Frame::Use(std::shared_ptr<const MemoryPlan> next) {
  plan = std::move(next);
  if (!plan) {
    bytes.assign(slots.size(), 0);
    scratch_bytes.assign(program.instructions_.size(), 0);
  } else if (!arena || arena->bytes() < plan->arena_bytes) {
    arena.reset();
    arena = Buffer::Allocate(plan->arena_bytes);
  }
}

void Frame::Reset() {
  for (size_t s = 0; s < slots.size(); ++s)
    if (!program.slots_[s].defined()) slots[s] = Tensor();
  scratch.clear();
}

Tensor Frame::Allocate(int output, DType dtype, const Shape& shape) {
  const int slot = program.instructions_[current].outputs[output];
  const size_t need = CheckedBytes(dtype, shape);
  if (const int state = program.writes_state_[slot]; state != kNoSlot) {
    const Tensor& target = program.slots_[state];
    if (target.dtype() == dtype && target.shape() == shape) return target;
  }
  if (program.escapes_[slot] || dtype == DType::kString) return Tensor::Empty(dtype, shape);
  if (plan) {
    if (plan->offset[slot] >= 0 && need <= plan->bytes[slot])
      return Tensor(dtype, shape, arena->data() + plan->offset[slot]);
    return Tensor::Empty(dtype, shape);
  }
  bytes[slot] = need;
  return Tensor::Empty(dtype, shape);
}

void* Frame::Scratch(size_t need) {
  const size_t at = scratch_used;
  scratch_used += Align(need);
  if (plan && scratch_used <= plan->scratch_bytes[current])
    return arena->data() + plan->scratch_offset[current] + at;
  if (!plan) scratch_bytes[current] = scratch_used;
  scratch.push_back(Buffer::Allocate(need));
  return scratch.back()->data();
}

std::unique_ptr<Frame> Program::TakeFrame(const std::vector<int64_t>& signature) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<Frame> frame;
  if (frames_.empty()) {
    frame = std::make_unique<Frame>(*this);
  } else {
    frame = std::move(frames_.back());
    frames_.pop_back();
  }
  std::shared_ptr<const MemoryPlan> plan;
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if ((*it)->signature != signature) continue;
    plan = *it;
    plans_.splice(plans_.begin(), plans_, it);
    break;
  }
  frame->Use(std::move(plan));
  return frame;
}

void Program::GiveFrame(std::unique_ptr<Frame> frame) {
  frame->Reset();
  std::lock_guard<std::mutex> lock(mutex_);
  if (frames_.size() < kMaxFrames) frames_.push_back(std::move(frame));
}

namespace {
double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Dtype, rank and dimensions of every input, flattened.
std::vector<int64_t> SignatureOf(const std::vector<Tensor>& inputs) {
  std::vector<int64_t> signature;
  for (const Tensor& t : inputs) {
    signature.push_back(static_cast<int64_t>(t.dtype()));
    signature.push_back(t.rank());
    signature.insert(signature.end(), t.shape().begin(), t.shape().end());
  }
  return signature;
}
}  // namespace

std::vector<Tensor> Program::Run(const std::vector<Tensor>& inputs, bool share) {
  TK_REQUIRE(inputs.size() == input_slots_.size(), ErrorKind::kInvalidArgument,
             "program: ", input_slots_.size(), " inputs are required, got ", inputs.size());
  std::unique_lock<std::mutex> exclusive(state_mutex_, std::defer_lock);
  if (!updates_.empty()) exclusive.lock();
  const auto signature = SignatureOf(inputs);
  std::unique_ptr<Frame> frame = TakeFrame(signature);
  for (size_t i = 0; i < inputs.size(); ++i) frame->slots[input_slots_[i]] = inputs[i];
  StringTable::Global().CollectIfLarge();
  FlushDenormals flush;
  Execute(*frame);
  std::vector<Tensor> outputs = Collect(*frame, share);
  ApplyUpdates(*frame);
  if (!frame->plan) {
    auto plan = MakePlan(*frame, signature);
    std::lock_guard<std::mutex> lock(mutex_);
    arena_bytes_ = plan->arena_bytes;
    plans_.push_front(std::move(plan));
    if (plans_.size() > kMaxPlans) plans_.pop_back();
  }
  GiveFrame(std::move(frame));
  return outputs;
}

void Program::Execute(Frame& frame) {
  const bool profiling = profiling_.load(std::memory_order_relaxed);
  std::vector<const Tensor*> inputs;
  std::vector<Tensor*> outputs;
  for (size_t i = 0; i < instructions_.size(); ++i) {
    const Instruction& instruction = instructions_[i];
    frame.current = static_cast<int>(i);
    frame.scratch_used = 0;
    inputs.clear();
    outputs.clear();
    for (int s : instruction.inputs) inputs.push_back(s == kNoSlot ? nullptr : &frame.slots[s]);
    for (int s : instruction.outputs) outputs.push_back(s == kNoSlot ? nullptr : &frame.slots[s]);
    KernelContext context(inputs.data(), static_cast<int>(inputs.size()), outputs.data(),
                          static_cast<int>(outputs.size()), frame);
    const double start = profiling ? Now() : 0;
    try {
      CheckDType(*instruction.def, inputs.data(), static_cast<int>(inputs.size()));
      instruction.kernel->Run(context);
    } catch (const Error& e) {
      Fail(e.kind(), instruction.def->op_type, " '", instruction.name, "': ", e.what());
    }
    if (profiling) Record(static_cast<int>(i), context, frame.slots, start, Now() - start);
    frame.scratch.clear();
    // What is not in the arena is given back as early as can be.
    for (int s : frame.plan ? given_dies_[i] : dies_[i]) frame.slots[s] = Tensor();
  }
}

std::vector<Tensor> Program::Collect(Frame& frame, bool share) {
  std::vector<Tensor> outputs;
  std::vector<int> taken;  // Memory already handed out.
  for (int s : output_slots_) {
    const Tensor& value = frame.slots[s];
    TK_REQUIRE(value.defined(), ErrorKind::kInvalidModel, "program: an output was not produced");
    // What is not this run's own memory (arena, input, constant, state) is copied out.
    const int memory = view_of_[s];
    const bool kept = fixed_[memory] && !(share && !slots_[memory].defined());
    const bool foreign = !value.buffer() || kept || writes_state_[memory] != kNoSlot ||
                         (!share && std::find(taken.begin(), taken.end(), memory) != taken.end());
    taken.push_back(memory);
    outputs.push_back(foreign ? value.Clone() : value);
  }
  return outputs;
}

void Program::ApplyUpdates(Frame& frame) {
  // A value that is another state's memory is copied first, so that swaps of states work.
  std::vector<Tensor> values;
  for (const Update& u : updates_) {
    Tensor value = frame.slots[u.value];
    const Tensor& target = slots_[u.state];
    TK_REQUIRE(value.dtype() == target.dtype() && value.shape() == target.shape(),
               ErrorKind::kShape, "update: a state must keep its type and shape, ",
               Name(target.dtype()), target.shape().ToString(), ", got ", Name(value.dtype()),
               value.shape().ToString());
    if (value.raw() != target.raw())
      for (int s : state_slots_)
        if (slots_[s].raw() == value.raw()) value = value.Clone();
    values.push_back(std::move(value));
  }
  for (size_t i = 0; i < updates_.size(); ++i) {
    const Tensor& target = slots_[updates_[i].state];
    if (values[i].raw() != target.raw() && target.bytes())
      std::memcpy(target.raw(), values[i].raw(), target.bytes());
  }
}

}  // namespace toolkit
