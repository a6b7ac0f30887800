#include "kernels/conv_autotune.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/thread_pool.h"

namespace toolkit {
namespace {

constexpr int kRuns = 3;
constexpr double kHopeless = 2;                       // Times the best: not run again.
constexpr int64_t kSweep = int64_t{4} * 1024 * 1024;  // Floats that push out what a run left.

std::string LayerName(const ConvShape& s, ConvPass pass) {
  constexpr const char* kPasses[] = {"forward", "forward-once", "input-gradient",
                                     "weight-gradient"};
  std::string name = kPasses[static_cast<int>(pass)];
  const auto add = [&](const char* what, int64_t value) { name += what + std::to_string(value); };
  add(" threads", ThreadPool::Global().num_threads());
  add(" n", s.batch), add(" g", s.group), add(" c", s.in_channels), add(" o", s.out_channels);
  const Window& w = s.window;
  for (int d = 0; d < w.rank; ++d) {
    add(" in", w.in[d]), add(" out", w.out[d]), add(" k", w.kernel[d]), add(" s", w.stride[d]);
    add(" d", w.dilation[d]), add(" p", w.pad_begin[d]);
  }
  return name;
}

class Floats {
 public:
  explicit Floats(int64_t count)
      : buffer_(Buffer::Allocate(static_cast<size_t>(count) * sizeof(float))) {
    for (int64_t i = 0; i < count; ++i) data()[i] = static_cast<float>(i % 7 - 3);
  }
  float* data() const { return reinterpret_cast<float*>(buffer_->data()); }

 private:
  std::shared_ptr<Buffer> buffer_;
};

// One layer on numbers of its own. Before each run its operands leave the caches, as between two
// runs of a layer those of all others pass.
class Trial {
 public:
  Trial(const ConvShape& s, ConvPass pass)
      : s_(s),
        pass_(pass),
        x_(s.batch * s.group * s.in_channels * s.in_count()),
        w_(s.group * s.out_channels * s.in_channels * s.taps()),
        y_(s.batch * s.group * s.out_channels * s.out_count()),
        sweep_(kSweep) {}

  // Seconds of the fastest run.
  double Time(ConvAlgorithm algorithm, double best) {
    if (pass_ == ConvPass::kForward) packed_ = PackConvWeights(s_, algorithm, false, w_.data());
    double least = 0;
    for (int i = 0; i < kRuns; ++i) {
      for (int64_t j = 0; j < kSweep; j += 16) sweep_.data()[j] += 1;
      const auto start = std::chrono::steady_clock::now();
      Run(algorithm);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      least = i == 0 ? took.count() : std::min(least, took.count());
      if (i > 0 && best > 0 && least > kHopeless * best) break;
    }
    return least;
  }

 private:
  void Run(ConvAlgorithm algorithm) const {
    const ConvEpilogue<float> epilogue;
    if (pass_ == ConvPass::kWeightGradient) {
      const ConvChoice choice = algorithm == ConvAlgorithm::kWinograd2   ? ConvChoice::kWinograd2
                                : algorithm == ConvAlgorithm::kWinograd4 ? ConvChoice::kWinograd4
                                                                         : ConvChoice::kPlain;
      ConvWeightGradient(s_, choice, x_.data(), y_.data(), w_.data());
    } else if (pass_ == ConvPass::kForward) {
      RunConv<float>(s_, algorithm, x_.data(), nullptr,
                     reinterpret_cast<const float*>(packed_->data()), epilogue, y_.data());
    } else {
      RunConvOnce<float>(s_, algorithm, pass_ == ConvPass::kInputGradient, x_.data(), w_.data(),
                         epilogue, y_.data());
    }
  }

  const ConvShape& s_;
  ConvPass pass_;
  Floats x_, w_, y_, sweep_;
  std::shared_ptr<Buffer> packed_;
};

ConvAlgorithm Measure(const ConvShape& s, ConvPass pass, const ConvOffers& offers) {
  Trial trial(s, pass);
  ConvAlgorithm best = offers.best;
  double least = trial.Time(best, 0);
  for (int i = 0; i < offers.count; ++i) {
    const ConvAlgorithm algorithm = offers.algorithms[i];
    if (algorithm == offers.best) continue;
    const double seconds = trial.Time(algorithm, least);
    if (seconds >= least) continue;
    best = algorithm;
    least = seconds;
  }
  return best;
}

}  // namespace

bool ConvOffers::Has(ConvAlgorithm algorithm) const {
  return std::find(algorithms, algorithms + count, algorithm) != algorithms + count;
}

ConvAutotune& ConvAutotune::Global() {
  static ConvAutotune* const autotune = new ConvAutotune;  // Read until the process ends.
  return *autotune;
}

ConvAlgorithm ConvAutotune::Choose(const ConvShape& s, ConvPass pass, const ConvOffers& offers) {
  if (s.batch * s.group * s.out_channels * s.out_count() == 0) return offers.best;
  const std::string layer = LayerName(s, pass);
  ConvAlgorithm known;
  if (!Find(layer, &known)) {
    std::lock_guard<std::mutex> one(measuring_);
    if (!Find(layer, &known)) {
      known = Measure(s, pass, offers);
      std::lock_guard<std::mutex> lock(mutex_);
      table_.emplace(layer, known);
    }
  }
  return offers.Has(known) ? known : offers.best;
}

bool ConvAutotune::Find(const std::string& layer, ConvAlgorithm* algorithm) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = table_.find(layer);
  if (found == table_.end()) return false;
  *algorithm = found->second;
  return true;
}

std::map<std::string, std::string> ConvAutotune::Choices() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::map<std::string, std::string> names;
  for (const auto& [layer, algorithm] : table_) names[layer] = ConvAlgorithmName(algorithm);
  return names;
}

bool ConvAutotune::Add(const std::string& layer, const std::string& algorithm) {
  for (int i = 0; i < kConvAlgorithms; ++i) {
    if (algorithm != ConvAlgorithmName(static_cast<ConvAlgorithm>(i))) continue;
    std::lock_guard<std::mutex> lock(mutex_);
    table_.emplace(layer, static_cast<ConvAlgorithm>(i));
    return true;
  }
  return false;
}

}  // namespace toolkit
