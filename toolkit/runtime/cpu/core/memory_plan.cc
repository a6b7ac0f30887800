// The arena: offsets for every temporary of a program from sizes and lifetimes.
#include <algorithm>
#include <numeric>

#include "core/frame.h"
#include "core/program.h"

namespace toolkit {

namespace {

constexpr size_t kAlign = 64;
size_t Align(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

struct Block {
  size_t bytes;
  int first, last;  // Instructions, inclusive.
  int slot;         // kNoSlot: the scratch memory of instruction `first`.
  size_t offset = 0;
};

// Greedy by size (Pisarchyk and Lee, 2020): the largest block first, each at the lowest offset
// that is free during its life. Returns the arena's size.
size_t PlaceBlocks(std::vector<Block>& blocks) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;  // By offset.
  size_t total = 0;
  for (size_t b : order) {
    Block& block = blocks[b];
    size_t offset = 0;
    for (size_t p : placed) {
      const Block& other = blocks[p];
      if (other.last < block.first || block.last < other.first) continue;
      if (other.offset >= offset + block.bytes) break;
      offset = std::max(offset, other.offset + other.bytes);
    }
    block.offset = offset;
    total = std::max(total, offset + block.bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), b,
                         [&](size_t x, size_t y) { return blocks[x].offset < blocks[y].offset; }),
        b);
  }
  return total;
}

// The largest sum of blocks that live at one instruction: a lower bound of any arena.
size_t LiveBytes(const std::vector<Block>& blocks, size_t instructions) {
  std::vector<size_t> born(instructions + 1, 0), dead(instructions + 1, 0);
  for (const Block& block : blocks) {
    born[block.first] += block.bytes;
    dead[std::min(block.last, static_cast<int>(instructions))] += block.bytes;
  }
  size_t live = 0, most = 0;
  for (size_t i = 0; i <= instructions; ++i) {
    live += born[i];
    most = std::max(most, live);
    live -= dead[i];
  }
  return most;
}

}  // namespace

std::shared_ptr<const MemoryPlan> Program::MakePlan(const Frame& frame) const {
  const size_t n = slots_.size();
  std::vector<int> root(n);  // The slot whose memory a slot uses.
  std::vector<int> last(last_);
  for (size_t s = 0; s < n; ++s) root[s] = view_of_[s];

  // In place: an input that dies here gives its memory to an output of the same size.
  for (size_t i = 0; i < instructions_.size(); ++i) {
    const Instruction& instruction = instructions_[i];
    for (auto [in, out] : instruction.def->inplace) {
      if (in >= static_cast<int>(instruction.inputs.size()) ||
          out >= static_cast<int>(instruction.outputs.size()))
        continue;
      const int source = instruction.inputs[in], target = instruction.outputs[out];
      if (source == kNoSlot || target == kNoSlot || root[target] != target) continue;
      const int memory = root[source];
      const bool planned = !fixed_[memory] && !escapes_[memory] && frame.bytes[memory] > 0 &&
                           writes_state_[memory] == kNoSlot;
      if (!planned || escapes_[target] || writes_state_[target] != kNoSlot) continue;
      if (frame.bytes[memory] != frame.bytes[target] || last[memory] != static_cast<int>(i))
        continue;
      // Another input on the same memory would be read after it was overwritten.
      int readers = 0;
      for (int s : instruction.inputs) readers += s != kNoSlot && root[s] == memory;
      if (readers != 1) continue;
      root[target] = memory;
      for (size_t s = 0; s < n; ++s)
        if (view_of_[s] == target) root[s] = memory;
      last[memory] = std::max(last[memory], last[target]);
    }
  }

  std::vector<Block> blocks;
  for (size_t s = 0; s < n; ++s)
    if (root[s] == static_cast<int>(s) && frame.bytes[s] > 0 && !fixed_[s] && !escapes_[s])
      blocks.push_back({Align(frame.bytes[s]), first_[s], last[s], static_cast<int>(s)});
  for (size_t i = 0; i < instructions_.size(); ++i)
    if (frame.scratch_bytes[i] > 0)
      blocks.push_back(
          {Align(frame.scratch_bytes[i]), static_cast<int>(i), static_cast<int>(i), kNoSlot});

  auto plan = std::make_shared<MemoryPlan>();
  plan->signature = frame.signature;
  plan->offset.assign(n, -1);
  plan->bytes.assign(n, 0);
  plan->scratch_offset.assign(instructions_.size(), 0);
  plan->scratch_bytes.assign(instructions_.size(), 0);
  plan->arena_bytes = PlaceBlocks(blocks);
  plan->live_bytes = LiveBytes(blocks, instructions_.size());
  for (int s : output_slots_)
    if (frame.slots[s].is_tensor()) plan->output_bytes += frame.slots[s].bytes();
  for (const Block& block : blocks) {
    if (block.slot == kNoSlot) {
      plan->scratch_offset[block.first] = block.offset;
      plan->scratch_bytes[block.first] = block.bytes;
    } else {
      plan->offset[block.slot] = static_cast<int64_t>(block.offset);
    }
  }
  for (size_t s = 0; s < n; ++s) {
    if (frame.bytes[s] == 0 || fixed_[s] || escapes_[s]) continue;
    plan->offset[s] = plan->offset[root[s]];
    plan->bytes[s] = frame.bytes[s];
  }
  return plan;
}

}  // namespace toolkit
