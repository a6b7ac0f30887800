// The process-wide pool of worker threads.
// Results must never depend on how work was split: a kernel that reduces uses fixed block sizes,
// not the ranges it is handed here.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace toolkit {

// Multiply-adds of a kernel below which threads do not pay, about 8 us of one core: what one core
// writes and another reads costs as much (a network of small layers ran 1.4 times faster on one).
constexpr int64_t kParallelWork = 1 << 20;

// A borrowed callable: valid only during the call it is passed to.
class RangeFn {
 public:
  template <class Fn, class = std::enable_if_t<!std::is_same_v<std::decay_t<Fn>, RangeFn>>>
  RangeFn(Fn&& fn)  // NOLINT: implicit by design, call sites pass lambdas.
      : object_(const_cast<void*>(static_cast<const void*>(&fn))),
        call_([](void* object, int64_t begin, int64_t end) {
          (*static_cast<std::remove_reference_t<Fn>*>(object))(begin, end);
        }) {}
  void operator()(int64_t begin, int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int64_t);
};

class ThreadPool {
 public:
  static ThreadPool& Global();

  int num_threads() const { return num_threads_.load(std::memory_order_relaxed); }
  // Which of the threads of a ParallelFor this is, from 0: for workspace that each has of its own.
  static int thread();
  // Counts the caller: 1 means no workers. Waits for running work to end.
  void SetNumThreads(int n);

  // Calls fn on consecutive ranges that cover [0, n), in parallel and in no fixed order. Every
  // range begins at a multiple of `grain`, so with a grain that is a multiple of 64 a vector loop
  // has its tail only at the end of the data, whatever the number of threads. Runs in the caller
  // alone when the work is small, the pool is busy with another caller, or this is already a
  // worker. Rethrows the first exception.
  //
  // A thread begins with the same share of [0, n) each time, so kernels that share out images,
  // rows or channels alike find in their core's cache what they wrote in the layer before.
  void ParallelFor(int64_t n, int64_t grain, RangeFn fn);

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  explicit ThreadPool(int n);
  ~ThreadPool() = delete;  // Lives until the process ends.
  void Start(int n);
  void Stop();
  void Work(int index);
  void Pin(int worker, int cpu);
  // Two threads on one core halve the throughput, and the system is slow to part them: a worker
  // whose core the caller runs on changes to the free one. Under job_mutex_.
  void LeaveCallersCpu();
  void RunChunks(int thread);

  // Chunks of the job that one thread takes first, in order; who has none left takes of the others.
  // So neighbouring layers that are shared out alike find their data in the cache of their core.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  std::mutex job_mutex_;  // Held by the caller whose job runs.
  std::vector<std::thread> workers_;
  std::vector<int> worker_cpus_;  // Empty when the workers are not pinned.
  int free_cpu_ = -1;
  std::atomic<int> num_threads_{1};

  // The current job; written only while open_ is false and inside_ is 0.
  const RangeFn* fn_ = nullptr;
  int64_t n_ = 0;
  int64_t chunk_ = 0;
  std::vector<Share> shares_;  // One a thread; the caller's is the first.
  alignas(64) std::atomic<bool> open_{false};
  std::atomic<int> inside_{0};
  alignas(64) std::atomic<uint64_t> epoch_{0};
  std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;

  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
};

// Denormals are flushed to zero while kernels run (they slow arithmetic tenfold); NUMERICS.md.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();

 private:
  unsigned saved_;
};

}  // namespace toolkit
