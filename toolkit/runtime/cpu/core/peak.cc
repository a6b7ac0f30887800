#include "core/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "core/tensor.h"
#include "core/thread_pool.h"
#include "simd/peak.h"

namespace toolkit {

namespace {

constexpr int64_t kRounds = 200000;  // A few milliseconds.
constexpr int64_t kLeast = 4096;     // Elements of a thread's share of the memory.
constexpr int kRepeats = 8;

// The least seconds of some calls of fn(0), fn(1), ..., one a thread.
template <class Fn>
double Least(const Fn& fn) {
  ThreadPool& pool = ThreadPool::Global();
  double least = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(pool.num_threads(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) fn(part);
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    least = std::min(least, took.count());
  }
  return least;
}

}  // namespace

Peaks MeasurePeaks(int64_t working_set) {
  const PeakTable& simd = PeakSimd();
  const auto threads = static_cast<double>(ThreadPool::Global().num_threads());
  std::atomic<float> sink{0};  // Keeps what is computed.
  const double registers = Least([&](int64_t) { sink = simd.multiply_add(kRounds, 0.999f); });
  TK_REQUIRE(working_set > 0, ErrorKind::kInvalidArgument,
             "measure_peaks: a working set of at least a byte is required, got ", working_set);
  const int64_t num_threads = ThreadPool::Global().num_threads();
  const int64_t part = std::max(kLeast, working_set / 4 / num_threads);
  const int64_t passes = std::max<int64_t>(1, kBeyondCaches / 4 / num_threads / part);
  const Tensor memory = Tensor::Empty(DType::kFloat, {part * num_threads});
  std::memset(memory.raw(), 0, memory.bytes());
  const double read = Least([&](int64_t i) {
    for (int64_t k = 0; k < passes; ++k) sink = simd.read(memory.data<float>() + i * part, part);
  });
  return {threads * kRounds * static_cast<double>(simd.operations) / registers,
          threads * static_cast<double>(part * passes) * 4 / read};
}

}  // namespace toolkit
