#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace toolkit {

namespace {

thread_local bool in_worker = false;
thread_local int this_thread = 0;
constexpr int64_t kChunks = 16;  // Of a thread: the last one to finish is late by one at most.
constexpr auto kSpin = std::chrono::microseconds(1000);  // Waking a sleeper costs 40 us and more.

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set)) cpus.push_back(i);
#endif
  return cpus;
}

int DefaultThreads() {
  if (const char* text = std::getenv("TOOLKIT_NUM_THREADS")) {
    const int n = std::atoi(text);
    if (n > 0) return n;
  }
  const auto cpus = AllowedCpus();
  if (!cpus.empty()) return static_cast<int>(cpus.size());
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<ThreadPool*> global_pool{nullptr};
std::mutex global_mutex;

}  // namespace

ThreadPool& ThreadPool::Global() {
  ThreadPool* pool = global_pool.load(std::memory_order_acquire);
  if (pool) return *pool;
  std::lock_guard<std::mutex> lock(global_mutex);
  pool = global_pool.load(std::memory_order_acquire);
  if (!pool) {
    static bool registered = false;
    // A forked child has none of the workers: it forgets the pool and starts another when needed.
    if (!registered)
      pthread_atfork(nullptr, nullptr,
                     [] { global_pool.store(nullptr, std::memory_order_release); });
    registered = true;
    pool = new ThreadPool(DefaultThreads());
    global_pool.store(pool, std::memory_order_release);
  }
  return *pool;
}

ThreadPool::ThreadPool(int n) { Start(n); }

int ThreadPool::thread() { return this_thread; }

void ThreadPool::SetNumThreads(int n) {
  std::lock_guard<std::mutex> job(job_mutex_);
  if (n == num_threads()) return;
  Stop();
  Start(n);
}

void ThreadPool::Start(int n) {
  stop_ = false;
  num_threads_ = n;
  shares_ = std::vector<Share>(n);
  const auto cpus = AllowedCpus();
  // More threads than cores are left to float.
  if (n <= static_cast<int>(cpus.size())) {
    worker_cpus_.assign(cpus.begin() + 1, cpus.begin() + n);
    free_cpu_ = cpus[0];
  }
  for (int i = 1; i < n; ++i) {
    workers_.emplace_back([this, i] { Work(i); });
    if (!worker_cpus_.empty()) Pin(i - 1, worker_cpus_[i - 1]);
  }
}

void ThreadPool::Pin([[maybe_unused]] int worker, [[maybe_unused]] int cpu) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(workers_[worker].native_handle(), sizeof(set), &set);
#endif
}

void ThreadPool::LeaveCallersCpu() {
#if defined(__linux__)
  const int cpu = sched_getcpu();
  if (cpu == free_cpu_) return;
  for (size_t i = 0; i < worker_cpus_.size(); ++i) {
    if (worker_cpus_[i] != cpu) continue;
    Pin(static_cast<int>(i), free_cpu_);
    std::swap(worker_cpus_[i], free_cpu_);
    return;
  }
#endif
}

void ThreadPool::Stop() {
  stop_ = true;
  {
    std::lock_guard<std::mutex> lock(sleep_mutex_);
    epoch_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
  workers_.clear();
  worker_cpus_.clear();
}

void ThreadPool::RunChunks(int thread) {
  const size_t threads = shares_.size();
  for (size_t i = 0; i < threads; ++i) {
    Share& share = shares_[(static_cast<size_t>(thread) + i) % threads];
    for (;;) {
      const int64_t chunk = share.next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= share.end) break;
      try {
        (*fn_)(chunk* chunk_, std::min(n_, (chunk + 1) * chunk_));
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
  }
}

void ThreadPool::Work(int index) {
  in_worker = true;
  this_thread = index;
  FlushDenormals flush;
  uint64_t seen = 0;
  while (!stop_) {
    const auto spin_end = std::chrono::steady_clock::now() + kSpin;
    uint64_t epoch;
    int polls = 0;
    while ((epoch = epoch_.load(std::memory_order_acquire)) == seen) {
      Pause();
      if (++polls % 256 == 0 && std::chrono::steady_clock::now() > spin_end) {
        std::unique_lock<std::mutex> lock(sleep_mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return epoch_.load() != seen; });
        sleeping_.fetch_sub(1);
      }
    }
    seen = epoch;
    // Entering before looking keeps the caller from reusing the job while we read it.
    inside_.fetch_add(1);
    if (open_.load()) RunChunks(index);
    inside_.fetch_sub(1);
  }
}

void ThreadPool::ParallelFor(int64_t n, int64_t grain, RangeFn fn) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int threads = num_threads();
  std::unique_lock<std::mutex> job(job_mutex_, std::defer_lock);
  if (n <= grain || threads == 1 || in_worker || !job.try_lock()) return fn(0, n);

  LeaveCallersCpu();
  fn_ = &fn;
  n_ = n;
  const int64_t share = (n + threads * kChunks - 1) / (threads * kChunks);
  chunk_ = (share + grain - 1) / grain * grain;
  const int64_t chunks = (n + chunk_ - 1) / chunk_;
  for (int t = 0; t < threads; ++t) {
    shares_[t].next.store(chunks * t / threads, std::memory_order_relaxed);
    shares_[t].end = chunks * (t + 1) / threads;
  }
  error_ = nullptr;
  open_.store(true);
  epoch_.fetch_add(1);
  if (sleeping_.load() > 0) {
    {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
    }
    wake_.notify_all();
  }
  in_worker = true;  // A nested call runs in place.
  RunChunks(0);
  in_worker = false;
  open_.store(false);
  while (inside_.load() != 0) Pause();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

#if defined(__x86_64__)
FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
FlushDenormals::FlushDenormals() {
  uint64_t fpcr;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  saved_ = static_cast<unsigned>(fpcr);
  asm volatile("msr fpcr, %0" ::"r"(fpcr | (1u << 24)));
}
FlushDenormals::~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(uint64_t{saved_})); }
#else
FlushDenormals::FlushDenormals() : saved_(0) {}
FlushDenormals::~FlushDenormals() {}
#endif

}  // namespace toolkit
