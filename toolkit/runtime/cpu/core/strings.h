// Strings as elements of tensors: a reference of 8 bytes to a string that is stored once.
//
// Equal strings have equal references, so that kernels which only move or compare elements treat
// them as integers; 0 is the empty string. What no tensor refers to any more is swept from time to
// time, when no kernel is making strings.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace toolkit {

class StringTable {
 public:
  static StringTable& Global();

  static const std::string& Get(uint64_t reference);

  // Sweeps when much was stored since the last time. Never call it while holding a StringMaker.
  void CollectIfLarge() {
    if (stored_.load(std::memory_order_relaxed) > limit_.load(std::memory_order_relaxed)) Collect();
  }
  size_t size() const;  // Strings stored now.

  // Memory whose elements keep their strings alive.
  void Watch(const char* data, size_t bytes);
  void Unwatch(const char* data);

 private:
  friend class StringMaker;
  uint64_t Intern(std::string_view text);
  void Collect();

  static constexpr size_t kFirstLimit = size_t{16} << 20;  // Bytes.
  mutable std::mutex mutex_;                               // Guards the containers.
  std::shared_mutex making_;  // Shared: strings are being made; exclusive: they are being swept.
  std::unordered_set<std::string> strings_;  // Its nodes do not move.
  std::unordered_map<const char*, size_t> watched_;
  std::atomic<size_t> stored_{0}, limit_{kFirstLimit};
};

// Held while a kernel makes strings and until they are stored in a tensor.
class StringMaker {
 public:
  StringMaker() : lock_(StringTable::Global().making_) {}
  uint64_t operator()(std::string_view text) { return StringTable::Global().Intern(text); }

 private:
  std::shared_lock<std::shared_mutex> lock_;
};

}  // namespace toolkit
