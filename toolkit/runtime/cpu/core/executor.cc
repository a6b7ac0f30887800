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

Frame::Frame(const Program& p) : program(p), slots(p.slots_) {
  for (const Instruction& instruction : p.instructions_)
    for (const auto* of : {&instruction.inputs, &instruction.outputs})
      for (int s : *of) operands.push_back(s == kNoSlot ? nullptr : &slots[s]);
}

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
  if (first) Buffer::MakeRoom(need);
  return Tensor::Empty(dtype, shape);
}

void* Frame::Scratch(size_t need) {
  const size_t at = scratch_used;
  scratch_used += Align(need);
  if (plan && scratch_used <= plan->scratch_bytes[current])
    return arena->data() + plan->scratch_offset[current] + at;
  if (!plan) {
    scratch_bytes[current] = scratch_used;
    if (first) Buffer::MakeRoom(need);
  }
  scratch.push_back(Buffer::Allocate(need));
  return scratch.back()->data();
}

std::unique_ptr<Frame> Program::TakeFrame(const Tensor* inputs, size_t count) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<Frame> frame;
  if (frames_.empty()) {
    frame = std::make_unique<Frame>(*this);
  } else {
    frame = std::move(frames_.back());
    frames_.pop_back();
  }
  auto& signature = frame->signature;
  signature.clear();
  for (size_t i = 0; i < count; ++i) {
    signature.push_back(static_cast<int64_t>(inputs[i].dtype()));
    signature.push_back(inputs[i].rank());
    signature.insert(signature.end(), inputs[i].shape().begin(), inputs[i].shape().end());
  }
  const auto known = std::find_if(plans_.begin(), plans_.end(),
                                  [&](const auto& plan) { return plan->signature == signature; });
  if (known != plans_.end()) plans_.splice(plans_.begin(), plans_, known);
  frame->first = plans_.empty();
  frame->Use(known == plans_.end() ? nullptr : plans_.front());
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
}  // namespace

std::vector<Tensor> Program::Run(const Tensor* inputs, size_t count, bool share) {
  TK_REQUIRE(count == input_slots_.size(), ErrorKind::kInvalidArgument,
             "program: ", input_slots_.size(), " inputs are required, got ", count);
  std::unique_lock<std::mutex> exclusive(state_mutex_, std::defer_lock);
  if (!updates_.empty()) exclusive.lock();
  std::unique_ptr<Frame> frame = TakeFrame(inputs, count);
  for (size_t i = 0; i < count; ++i) frame->slots[input_slots_[i]] = inputs[i];
  StringTable::Global().CollectIfLarge();
  FlushDenormals flush;
  Execute(*frame);
  std::vector<Tensor> outputs = Collect(*frame, share);
  ApplyUpdates(*frame);
  bool first = false;
  if (!frame->plan) {
    auto plan = MakePlan(*frame);
    std::lock_guard<std::mutex> lock(mutex_);
    first = plans_.empty();
    arena_bytes_ = plan->arena_bytes;
    plans_.push_front(std::move(plan));
    if (plans_.size() > kMaxPlans) plans_.pop_back();
  }
  GiveFrame(std::move(frame));
  if (first) Buffer::Trim();  // Of what temporaries took before there was an arena.
  return outputs;
}

void Program::Execute(Frame& frame) {
  const bool profiling = profiling_.load(std::memory_order_relaxed);
  Tensor* const* operands = frame.operands.data();
  for (size_t i = 0; i < instructions_.size(); ++i) {
    const Instruction& instruction = instructions_[i];
    frame.current = static_cast<int>(i);
    frame.scratch_used = 0;
    const int num_inputs = static_cast<int>(instruction.inputs.size());
    const int num_outputs = static_cast<int>(instruction.outputs.size());
    KernelContext context(operands, num_inputs, operands + num_inputs, num_outputs, frame);
    const double start = profiling ? Now() : 0;
    try {
      CheckDType(*instruction.def, operands, num_inputs);
      instruction.kernel->Run(context);
    } catch (const Error& e) {
      Fail(e.kind(), instruction.def->op_type, " '", instruction.name, "': ", e.what());
    }
    if (profiling) Record(static_cast<int>(i), context, frame.slots, start, Now() - start);
    operands += num_inputs + num_outputs;
    frame.scratch.clear();
    // What is not in the arena is given back as early as can be.
    for (int s : frame.plan ? given_dies_[i] : dies_[i]) frame.slots[s] = Tensor();
  }
}

std::vector<Tensor> Program::Collect(Frame& frame, bool share) {
  std::vector<Tensor> outputs;
  outputs.reserve(output_slots_.size());
  for (size_t i = 0; i < output_slots_.size(); ++i) {
    const Tensor& value = frame.slots[output_slots_[i]];
    TK_REQUIRE(value.defined(), ErrorKind::kInvalidModel, "program: an output was not produced");
    // What is not this run's own memory (arena, input, constant, state) is copied out.
    const int memory = view_of_[output_slots_[i]];
    const bool kept = fixed_[memory] && !(share && !slots_[memory].defined());
    const bool foreign =
        !value.buffer() || kept || writes_state_[memory] != kNoSlot || (!share && repeats_[i]);
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
