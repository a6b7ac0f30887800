// The measured choice of a convolution's algorithm: a table for the process, by layer.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>

#include "kernels/conv_algorithms.h"

namespace toolkit {

// The algorithms that can do a layer; `best`: by the model of conv_choice.cc.
struct ConvOffers {
  ConvOffers(ConvAlgorithm algorithm, double cycles) : least(cycles) {
    algorithms[count++] = best = algorithm;
  }
  void Add(ConvAlgorithm algorithm, double cycles) {
    algorithms[count++] = algorithm;
    if (cycles >= least) return;
    best = algorithm;
    least = cycles;
  }
  bool Has(ConvAlgorithm algorithm) const;

  ConvAlgorithm algorithms[kConvAlgorithms];
  int count = 0;
  ConvAlgorithm best;
  double least;
};

class ConvAutotune {
 public:
  static ConvAutotune& Global();

  // Whether convolutions that ask for nothing else are measured.
  void Enable(bool on) { enabled_ = on; }
  bool enabled() const { return enabled_.load(std::memory_order_relaxed); }

  // The table's algorithm for the layer. The first to ask times every offer, on numbers of its own;
  // other callers that would measure wait for it. An entry that is no offer leaves the model's.
  ConvAlgorithm Choose(const ConvShape& shape, ConvPass pass, const ConvOffers& offers);

  // Names of algorithms by layer.
  std::map<std::string, std::string> Choices() const;
  // False: there is no such algorithm. A layer that is known keeps its own.
  bool Add(const std::string& layer, const std::string& algorithm);

 private:
  bool Find(const std::string& layer, ConvAlgorithm* algorithm) const;

  std::atomic<bool> enabled_{false};
  std::mutex measuring_;
  mutable std::mutex mutex_;  // Guards the table.
  std::map<std::string, ConvAlgorithm> table_;
};

}  // namespace toolkit
