#include "core/strings.h"

#include <cstring>

namespace toolkit {

namespace {
// A string's own bytes and what holding it costs.
size_t CostOf(const std::string& s) { return s.size() + sizeof(std::string) + 4 * sizeof(void*); }
const std::string* Pointer(uint64_t reference) {
  return reinterpret_cast<const std::string*>(static_cast<uintptr_t>(reference));
}
}  // namespace

StringTable& StringTable::Global() {
  static StringTable* table = new StringTable;  // Outlives every tensor that Python still holds.
  return *table;
}

const std::string& StringTable::Get(uint64_t reference) {
  static const std::string* empty = new std::string;
  return reference ? *Pointer(reference) : *empty;
}

uint64_t StringTable::Intern(std::string_view text) {
  if (text.empty()) return 0;
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [at, added] = strings_.emplace(text);
  if (added) stored_ += CostOf(*at);
  return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&*at));
}

size_t StringTable::size() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return strings_.size();
}

void StringTable::Watch(const char* data, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  watched_.emplace(data, bytes);
}

void StringTable::Unwatch(const char* data) {
  std::lock_guard<std::mutex> lock(mutex_);
  watched_.erase(data);
}

void StringTable::Collect() {
  std::unique_lock<std::shared_mutex> alone(making_);
  std::lock_guard<std::mutex> lock(mutex_);
  std::unordered_set<const std::string*> live;
  for (const auto& [data, bytes] : watched_)
    for (size_t at = 0; at + sizeof(uint64_t) <= bytes; at += sizeof(uint64_t)) {
      uint64_t reference;
      std::memcpy(&reference, data + at, sizeof(reference));
      live.insert(Pointer(reference));
    }
  size_t kept = 0;
  for (auto it = strings_.begin(); it != strings_.end();) {
    if (live.count(&*it)) {
      kept += CostOf(*it);
      ++it;
    } else {
      it = strings_.erase(it);
    }
  }
  stored_ = kept;
  limit_ = 2 * kept > kFirstLimit ? 2 * kept : kFirstLimit;
}

}  // namespace toolkit
