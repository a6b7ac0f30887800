// The values of one run in flight.
#pragma once

#include <memory>
#include <vector>

#include "core/program.h"

namespace toolkit {

struct Frame : public OutputAllocator {
  explicit Frame(const Program& program);

  // Points the frame at `plan` and sizes the arena; null: the heap, and sizes are recorded.
  void Use(std::shared_ptr<const MemoryPlan> plan);
  void Reset();  // Drops what a run left in the slots.

  Tensor Allocate(int output, DType dtype, const Shape& shape) override;
  void* Scratch(size_t bytes) override;

  const Program& program;
  std::vector<int64_t> signature;  // Dtype, rank and dimensions of every input.
  std::vector<Tensor> slots;
  // The operands of every instruction, one after the other: its inputs, its outputs. Null: absent.
  std::vector<Tensor*> operands;
  std::shared_ptr<const MemoryPlan> plan;
  std::shared_ptr<Buffer> arena;
  bool first = false;  // Of the program's runs: what it takes from the heap is given back after it.
  int current = 0;     // The instruction that runs.
  size_t scratch_used = 0;
  std::vector<std::shared_ptr<Buffer>> scratch;  // Beyond the plan; freed with the instruction.
  // Recorded when there is no plan.
  std::vector<size_t> bytes;          // By slot.
  std::vector<size_t> scratch_bytes;  // By instruction.
};

}  // namespace toolkit
