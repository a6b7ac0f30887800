// A flat native program: instructions over numbered slots, run without Python.
//
// A slot holds one value during a run. Slots of constants and states are filled once; the others
// live in an arena whose offsets are planned from lifetimes, once per input signature.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "core/profile.h"

namespace toolkit {

constexpr int kNoSlot = -1;

class Program;

struct Instruction {
  const KernelDef* def;
  std::shared_ptr<Kernel> kernel;                // With what it packed; of `Select` too.
  std::string name;                              // The node's name, for messages.
  std::vector<int> inputs;                       // kNoSlot where an optional input is absent.
  std::vector<int> outputs;                      // kNoSlot where an optional output is not wanted.
  std::vector<std::shared_ptr<Program>> bodies;  // That the kernel runs: attributes of If, Loop.
};

// A state (parameter, moment, running statistic) takes the value of a slot at the end of a run.
struct Update {
  int state;
  int value;
};

// Offsets for one input signature, and what the first run learned.
struct MemoryPlan {
  std::vector<int64_t> signature;
  std::vector<int64_t> offset;         // By slot; -1: not in the arena.
  std::vector<size_t> bytes;           // By slot.
  std::vector<size_t> scratch_offset;  // By instruction.
  std::vector<size_t> scratch_bytes;   // By instruction.
  size_t arena_bytes = 0;
  size_t live_bytes = 0;    // The most that is alive at one instruction.
  size_t output_bytes = 0;  // Of values that the caller gets.
};

struct Frame;

class Program {
 public:
  Program();
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Building, in any order; then Finalize, once.
  int AddSlot();
  int AddConstant(Tensor value);
  int AddInput(std::string name);
  int AddState(Tensor value);  // Shares the tensor's memory: an update writes through to it.
  void AddNode(const std::string& domain, const std::string& op_type, const std::string& name,
               const Attributes& attributes, std::vector<int> inputs, std::vector<int> outputs);
  void AddOutput(int slot);
  void AddUpdate(int state_slot, int value_slot);
  // Gives a constant's memory back, unless a kernel reads it: nothing will be added that does.
  // Finalize does so for all.
  void Release(int slot);
  void Finalize();
  // A program of some of a finalized one's outputs, by their numbers: its kernels, and so the
  // weights that they packed, are shared.
  std::shared_ptr<Program> Select(const std::vector<int>& outputs) const;

  // Runs once; `inputs` in the order of AddInput. The outputs own their memory; with `share`, an
  // output that is an input which owns its memory is given back as it is, not copied. Thread-safe,
  // except that runs of a program with updates exclude each other.
  std::vector<Tensor> Run(const Tensor* inputs, size_t count, bool share = false);
  std::vector<Tensor> Run(const std::vector<Tensor>& inputs, bool share = false) {
    return Run(inputs.data(), inputs.size(), share);
  }

  int num_inputs() const { return static_cast<int>(input_slots_.size()); }
  int num_outputs() const { return static_cast<int>(output_slots_.size()); }
  size_t num_instructions() const { return instructions_.size(); }
  const Instruction& instruction(size_t i) const { return instructions_[i]; }
  Tensor state(int i) const { return slots_[state_slots_[i]]; }
  size_t num_states() const { return state_slots_.size(); }
  size_t arena_bytes() const { return arena_bytes_.load(); }  // Of the latest plan.

  // Times every instruction of the runs from now on, and of the bodies that they run.
  void EnableProfile(bool on);
  Profile TakeProfile();
  MemoryReport Memory() const;

 private:
  friend struct Frame;
  std::unique_ptr<Frame> TakeFrame(const Tensor* inputs, size_t count);
  void GiveFrame(std::unique_ptr<Frame> frame);
  void Execute(Frame& frame);
  std::shared_ptr<const MemoryPlan> MakePlan(const Frame& frame) const;
  std::vector<Tensor> Collect(Frame& frame, bool share);
  void ApplyUpdates(Frame& frame);
  void Prepack(Instruction& instruction);
  void RequireSlot(int slot) const;
  bool IsState(int slot) const;
  void DeriveDeaths();
  void Record(int i, const KernelContext& context, const std::vector<Tensor>& slots, double start,
              double seconds);
  void AddMemory(MemoryReport& report, std::set<const void*>& seen) const;

  std::vector<Instruction> instructions_;
  std::vector<Tensor> slots_;  // Constants and states; undefined elsewhere.
  std::vector<bool> read_;     // Constants whose elements a kernel or the caller reads.
  std::vector<bool> gone_;     // Constants of which only type and shape are left.
  std::vector<std::string> input_names_;
  std::vector<int> input_slots_, output_slots_, state_slots_;
  std::vector<Update> updates_;

  // Derived by Finalize, by slot.
  std::vector<int> first_, last_;  // Instructions that define and last read it.
  std::vector<bool> fixed_;        // Input, constant or state.
  std::vector<bool> escapes_;      // Owned by the caller after the run: lives on the heap.
  std::vector<int> writes_state_;  // State slot whose memory the value takes, or kNoSlot.
  std::vector<int> view_of_;       // Slot whose memory it shares, or itself.
  std::vector<bool> repeats_;      // By output: an earlier one has the same memory.
  // By instruction: values that die with it, all of them and those that brought their own memory.
  std::vector<std::vector<int>> dies_, given_dies_;

  mutable std::mutex mutex_;                            // Guards what follows.
  std::list<std::shared_ptr<const MemoryPlan>> plans_;  // Most recent first, bounded.
  std::vector<std::unique_ptr<Frame>> frames_;
  std::unique_ptr<Profile> profile_;
  std::atomic<bool> profiling_{false};
  std::atomic<size_t> arena_bytes_{0};
  std::mutex state_mutex_;
};

}  // namespace toolkit
