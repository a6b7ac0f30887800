// Elementwise operators as small programs over tiles that stay in the first-level cache.
//
// A program has inputs that broadcast to the output's shape, temporaries of one tile, and steps.
// A single operator is a program of one step, which runs without temporaries on long spans.
#pragma once

#include <initializer_list>

#include "core/kernel.h"
#include "simd/codes.h"
#include "simd/elementwise.h"

namespace toolkit {

// The arithmetic type of a dtype; bool is kU8. Fails for half precision, complex and strings.
Element ElementOf(DType t);

class TileProgram {
 public:
  using Value = int;  // An input, a temporary or the output.
  static constexpr Value kOutput = 0;
  static constexpr int kTile = 512;  // Elements of a tile.
  static constexpr int kMaxValues = 26;
  static constexpr int kMaxSteps = 40;

  // `tensor` must outlive the program and broadcast to the output.
  Value Input(const Tensor& tensor);
  Value Temporary();

  // A step may write to a value that it reads. The last step writes kOutput; an earlier one may
  // too when no later step reads an input whose memory the output may have taken.
  void Unary(UnaryFn fn, Value to, Value x, std::initializer_list<double> params = {});
  void Binary(BinaryFn fn, Value to, Value a, Value b);
  // `args` must outlive the program.
  void Binary(CodesFn fn, const void* args, Value to, Value a, Value b);
  void Select(SelectFn fn, size_t item, Value to, Value condition, Value a, Value b);

  // `grain`: least elements worth handing to another thread, a multiple of 64.
  void Run(ThreadPool& pool, const Tensor& output, int64_t grain) const;

 private:
  struct Step {
    UnaryFn unary;
    BinaryFn binary;
    CodesFn with_args;
    const void* args;
    SelectFn select;
    size_t item;  // Of select.
    Value to, from[3];
    double params[3];
  };
  struct Layout;
  class Walk;
  Value Add(const Tensor* tensor);
  Step& AddStep();

  const Tensor* tensors_[kMaxValues] = {nullptr};  // Null for the output and temporaries.
  Step steps_[kMaxSteps];                          // Those beyond num_steps_ are not initialised.
  int num_values_ = 1;
  int num_steps_ = 0;
  int num_temporaries_ = 0;
};

constexpr int64_t kCheapGrain = 16384;  // Elements a thread should get of an addition,
constexpr int64_t kMathGrain = 4096;    // of an exponential,
constexpr int64_t kSlowGrain = 1024;    // of a call into the C library.

}  // namespace toolkit
