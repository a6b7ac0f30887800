// What a program tells of itself: times, sizes and choices of its instructions, and its memory.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace toolkit {

struct Profile {
  struct Value {
    DType dtype = DType::kUndefined;  // Of an optional value that is absent.
    Shape shape;
    bool constant = false;
  };
  struct Node {
    double seconds = 0;                  // Summed over runs.
    std::string algorithm;               // What the kernel chose to do, where it has a choice.
    std::vector<Value> inputs, outputs;  // In the first run.
  };
  struct Event {
    int instruction;
    double start, seconds;  // Since the epoch of the steady clock.
  };

  std::vector<Node> nodes;    // By instruction.
  std::vector<Event> events;  // The first kMaxEvents, in the order in which they ended.
  int64_t runs = 0;
};
constexpr size_t kMaxEvents = size_t{1} << 18;

// In bytes, programs inside (bodies of If, Loop and Scan) included.
struct MemoryReport {
  size_t arena = 0;      // Of the latest input signature: temporaries and scratch.
  size_t live = 0;       // The most that is alive at one time: no arena can be smaller.
  size_t outputs = 0;    // Handed to the caller by a run, of that signature.
  size_t constants = 0;  // As the program holds them.
  size_t packed = 0;     // Copies of constants in the layouts of kernels.
  size_t states = 0;
};

}  // namespace toolkit
