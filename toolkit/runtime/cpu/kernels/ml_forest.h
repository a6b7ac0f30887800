// A forest of decision trees, laid out for speed: what the tree ensembles of ai.onnx.ml run on.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/kernel.h"

namespace toolkit {

// Numbered as TreeEnsemble's attributes.
enum class Branch : uint8_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kMember };
enum class Aggregate { kAverage, kSum, kMin, kMax };

// Trees as a file describes them. A child or root is the index of a node, or ~k for leaf k.
struct ForestSpec {
  struct Node {
    Branch branch = Branch::kLeq;
    bool missing = false;  // Whether NaN goes the way of true.
    int64_t feature = 0, yes = 0, no = 0;
    double split = 0;
  };
  struct Weight {
    int64_t target;
    double value;
  };
  std::vector<Node> nodes;
  std::unordered_map<int64_t, std::vector<double>> members;  // By node, of kMember.
  std::vector<std::vector<Weight>> leaves;
  std::vector<int64_t> roots;
  int64_t targets = 1;
  bool doubles = false;  // Whether splits or weights need more than float32.
};

class Forest {
 public:
  virtual ~Forest() = default;
  // Fails unless every tree is one and its targets exist.
  static std::unique_ptr<Forest> Make(const ForestSpec& spec);

  // Calls finish(row, scores) for every row of x (rows, width), from several threads; `scores` are
  // its targets' aggregates, 0 where no leaf said anything.
  using Finish = std::function<void(int64_t row, const double* scores)>;
  virtual void Run(ThreadPool& pool, const float* x, int64_t rows, int64_t width,
                   Aggregate aggregate, const Finish& finish) const = 0;
  virtual void Run(ThreadPool& pool, const double* x, int64_t rows, int64_t width,
                   Aggregate aggregate, const Finish& finish) const = 0;
};

}  // namespace toolkit
