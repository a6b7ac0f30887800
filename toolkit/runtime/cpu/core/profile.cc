// Profiles and memory reports of programs.
#include "core/profile.h"

#include <algorithm>
#include <set>

#include "core/program.h"

namespace toolkit {

namespace {
std::vector<Profile::Value> Described(const std::vector<Tensor>& slots,
                                      const std::vector<Tensor>& constants,
                                      const std::vector<int>& of) {
  std::vector<Profile::Value> values;
  for (int s : of) {
    if (s == kNoSlot) {
      values.emplace_back();
    } else {
      values.push_back({slots[s].dtype(), slots[s].shape(), constants[s].defined()});
    }
  }
  return values;
}
}  // namespace

void Program::EnableProfile(bool on) {
  for (const Instruction& instruction : instructions_)
    for (const auto& body : instruction.bodies) body->EnableProfile(on);
  std::lock_guard<std::mutex> lock(mutex_);
  profiling_ = on;
  if (on) {
    profile_ = std::make_unique<Profile>();
    profile_->nodes.resize(instructions_.size());
  }
}

Profile Program::TakeProfile() {
  std::lock_guard<std::mutex> lock(mutex_);
  return profile_ ? *profile_ : Profile{};
}

void Program::Record(int i, const KernelContext& context, const std::vector<Tensor>& slots,
                     double start, double seconds) {
  const Instruction& instruction = instructions_[i];
  std::lock_guard<std::mutex> lock(mutex_);
  if (!profile_) return;
  Profile::Node& node = profile_->nodes[i];
  if (node.inputs.empty() && node.outputs.empty()) {
    node.algorithm = instruction.kernel->Describe(context);
    node.inputs = Described(slots, slots_, instruction.inputs);
    node.outputs = Described(slots, slots_, instruction.outputs);
  }
  node.seconds += seconds;
  if (profile_->events.size() < kMaxEvents) profile_->events.push_back({i, start, seconds});
  if (i + 1 == static_cast<int>(instructions_.size())) ++profile_->runs;
}

MemoryReport Program::Memory() const {
  MemoryReport report;
  std::set<const void*> seen;
  AddMemory(report, seen);
  return report;
}

void Program::AddMemory(MemoryReport& report, std::set<const void*>& seen) const {
  for (size_t s = 0; s < slots_.size(); ++s) {
    const Tensor& value = slots_[s];
    if (!value.raw() || !seen.insert(value.raw()).second) continue;
    const bool state = std::count(state_slots_.begin(), state_slots_.end(), static_cast<int>(s));
    (state ? report.states : report.constants) += value.bytes();
  }
  for (const Instruction& instruction : instructions_) {
    report.packed += instruction.kernel->PackedBytes();
    for (const auto& body : instruction.bodies) body->AddMemory(report, seen);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  if (plans_.empty()) return;
  const MemoryPlan& plan = *plans_.front();
  report.arena += plan.arena_bytes;
  report.live += plan.live_bytes;
  report.outputs += plan.output_bytes;
}

}  // namespace toolkit
