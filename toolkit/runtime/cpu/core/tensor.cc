#include "core/tensor.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/strings.h"

namespace toolkit {

Shape::Shape(const int64_t* dims, size_t rank) {
  TK_REQUIRE(rank <= kMaxRank, ErrorKind::kShape, "rank must be at most ", kMaxRank, ", got ",
             rank);
  rank_ = static_cast<int>(rank);
  if (rank) std::memcpy(dims_, dims, rank * sizeof(int64_t));
}

Shape Shape::Filled(int rank, int64_t fill) {
  Shape s;
  for (int i = 0; i < rank; ++i) s.push_back(fill);
  return s;
}

void Shape::push_back(int64_t dim) {
  TK_REQUIRE(rank_ < kMaxRank, ErrorKind::kShape, "rank must be at most ", kMaxRank);
  dims_[rank_++] = dim;
}

int64_t Shape::Count(int from, int to) const {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= dims_[i];
  return n;
}

std::string Shape::ToString() const {
  std::string s = "(";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
  return s + (rank_ == 1 ? ",)" : ")");
}

int NormalizeAxis(int64_t axis, int rank) {
  TK_REQUIRE(axis >= -rank && axis < rank, ErrorKind::kIndex, "axis must lie in [", -rank, ", ",
             rank - 1, "], got ", axis);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Shape BroadcastShapes(const Shape& a, const Shape& b) {
  const int rank = a.rank() > b.rank() ? a.rank() : b.rank();
  Shape out = Shape::Filled(rank, 1);
  for (int i = 1; i <= rank; ++i) {
    const int64_t da = i <= a.rank() ? a[a.rank() - i] : 1;
    const int64_t db = i <= b.rank() ? b[b.rank() - i] : 1;
    TK_REQUIRE(da == db || da == 1 || db == 1, ErrorKind::kShape, "The size of tensor a (", da,
               ") must match the size of tensor b (", db, ") at non-singleton dimension ", rank - i,
               ": shapes must be equal or broadcast, got ", a.ToString(), " and ", b.ToString());
    out[rank - i] = da == 1 ? db : da;
  }
  return out;
}

Shape StridesOf(const Shape& shape) {
  Shape strides = Shape::Filled(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

namespace {

// A page of 4 KB costs a fault of 0.25 to 3 us when it is first touched, one of 2 MB not much more;
// but where hundreds of them are asked for at once, the system may have to move memory to make
// them.
void UseHugePages(void* p, size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + bytes) / kPage * kPage;
  if (begin < end && bytes <= size_t{64} << 20)
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

// Freed blocks are kept by size so that repeated runs do not pay mmap and page faults.
class BlockCache {
 public:
  static constexpr size_t kAlign = 64;
  static constexpr size_t kLimit = size_t{512} << 20;  // Bytes kept at most.

  void* Take(size_t bytes) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto it = free_.find(bytes);
      if (it != free_.end() && !it->second.empty()) {
        void* p = it->second.back();
        it->second.pop_back();
        held_ -= bytes;
        return p;
      }
    }
    void* p = nullptr;
    if (posix_memalign(&p, kAlign, bytes) != 0) {
      Clear();
      if (posix_memalign(&p, kAlign, bytes) != 0)
        Fail(ErrorKind::kMemory, "out of memory: ", bytes, " bytes could not be allocated");
    }
    UseHugePages(p, bytes);
    return p;
  }

  void Give(void* p, size_t bytes) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (held_ + bytes <= kLimit) {
        free_[bytes].push_back(p);
        held_ += bytes;
        return;
      }
    }
    std::free(p);
  }

  // Frees as many bytes of other sizes, or all, where no block of this size is kept.
  void MakeRoom(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (const auto it = free_.find(bytes); it != free_.end() && !it->second.empty()) return;
    size_t freed = 0;
    for (auto it = free_.begin(); it != free_.end() && freed < bytes; it = free_.erase(it))
      for (void* p : it->second) {
        std::free(p);
        freed += it->first;
      }
    held_ -= freed;
  }

  void Clear() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& entry : free_)
      for (void* p : entry.second) std::free(p);
    free_.clear();
    held_ = 0;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;
  size_t held_ = 0;
};

BlockCache& Blocks() {
  static BlockCache* cache = new BlockCache;  // Outlives every tensor that Python still holds.
  return *cache;
}

// The workspaces that a thread gave last, for it alone: no lock, and what lies in the cache of its
// core. Memory that another core has in its cache is slow to write.
class OwnBlocks {
 public:
  ~OwnBlocks() {
    Clear();
    gone = true;
  }
  static thread_local bool gone;  // What a thread frees after its end goes to all.

  void* Take(size_t bytes) {
    for (Block& block : blocks_)
      if (block.data && block.bytes == bytes) return std::exchange(block.data, nullptr);
    return Blocks().Take(bytes);
  }

  bool Has(size_t bytes) const {
    return std::any_of(std::begin(blocks_), std::end(blocks_),
                       [&](const Block& b) { return b.data && b.bytes == bytes; });
  }

  void Give(void* p, size_t bytes) {
    if (bytes > kMostBytes) return Blocks().Give(p, bytes);
    Block& block = blocks_[next_++ % kCount];
    if (block.data) Blocks().Give(block.data, block.bytes);
    block = {p, bytes};
  }

  void Clear() {
    for (Block& block : blocks_)
      if (void* p = std::exchange(block.data, nullptr)) Blocks().Give(p, block.bytes);
  }

 private:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
  };
  static constexpr size_t kCount = 16, kMostBytes = size_t{4} << 20;
  Block blocks_[kCount];
  size_t next_ = 0;
};

thread_local bool OwnBlocks::gone = false;
thread_local OwnBlocks own_blocks;

void* TakeBlock(size_t bytes) {
  return OwnBlocks::gone ? Blocks().Take(bytes) : own_blocks.Take(bytes);
}

void GiveBlock(void* p, size_t bytes) {
  OwnBlocks::gone ? Blocks().Give(p, bytes) : own_blocks.Give(p, bytes);
}

// Rounding to 1/8 of the power of two lets near sizes share blocks.
size_t RoundUp(size_t bytes) {
  size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

}  // namespace

std::shared_ptr<Buffer> Buffer::Allocate(size_t bytes) {
  const size_t rounded = RoundUp(bytes ? bytes : 1);
  void* p = TakeBlock(rounded);
  return std::shared_ptr<Buffer>(new Buffer(p, rounded, nullptr));
}

std::shared_ptr<Buffer> Buffer::Borrow(void* data, size_t bytes, std::function<void()> release) {
  if (!release) release = [] {};
  return std::shared_ptr<Buffer>(new Buffer(data, bytes, std::move(release)));
}

void Buffer::MakeRoom(size_t bytes) {
  constexpr size_t kSmall = size_t{256} << 10;  // Many of these stay, for what a search costs.
  const size_t rounded = RoundUp(bytes);
  if (bytes < kSmall || (!OwnBlocks::gone && own_blocks.Has(rounded))) return;
  if (!OwnBlocks::gone) own_blocks.Clear();
  Blocks().MakeRoom(rounded);
}

void Buffer::Trim() {
  if (!OwnBlocks::gone) own_blocks.Clear();
  Blocks().Clear();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

std::shared_ptr<Buffer> Buffer::AllocateStrings(size_t bytes) {
  const size_t rounded = RoundUp(bytes ? bytes : 1);
  auto* data = static_cast<char*>(Blocks().Take(rounded));
  std::memset(data, 0, rounded);
  StringTable& table = StringTable::Global();
  table.Watch(data, bytes);
  auto release = [&table, data, rounded] {
    table.Unwatch(data);
    Blocks().Give(data, rounded);
  };
  return std::shared_ptr<Buffer>(new Buffer(data, bytes, std::move(release)));
}

Buffer::~Buffer() {
  if (release_)
    release_();
  else
    GiveBlock(data_, bytes_);
}

size_t CheckedBytes(DType dtype, const Shape& shape) {
  static const size_t physical =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t bytes = ItemSize(dtype);
  bool zero = false;
  for (int64_t d : shape) {
    TK_REQUIRE(d >= 0, ErrorKind::kShape, "dimensions must not be negative, got ",
               shape.ToString());
    zero |= d == 0;
  }
  if (zero) return 0;
  for (int64_t d : shape)
    TK_REQUIRE(!__builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes) && bytes <= physical,
               ErrorKind::kMemory, "a tensor of shape ", shape.ToString(), " and dtype ",
               Name(dtype), " does not fit into this machine's ", physical >> 20, " MiB");
  return bytes;
}

Tensor Tensor::Empty(DType dtype, const Shape& shape) {
  TK_REQUIRE(ItemSize(dtype), ErrorKind::kDType, "an element type is required, got ", Name(dtype));
  const size_t bytes = CheckedBytes(dtype, shape);
  auto buffer = dtype == DType::kString ? Buffer::AllocateStrings(bytes) : Buffer::Allocate(bytes);
  return Tensor(dtype, shape, buffer->data(), buffer);
}

Tensor Tensor::Sequence(std::vector<Tensor> items) {
  Tensor t(DType::kSequence, Shape{static_cast<int64_t>(items.size())}, nullptr);
  t.items_ = std::make_shared<const std::vector<Tensor>>(std::move(items));
  return t;
}

Tensor Tensor::Map(Tensor keys, Tensor values) {
  Tensor t(DType::kMap, Shape{keys.size()}, nullptr);
  t.items_ = std::make_shared<const std::vector<Tensor>>(
      std::vector<Tensor>{std::move(keys), std::move(values)});
  return t;
}

Tensor Tensor::None() { return Tensor(DType::kNone, Shape{}, nullptr); }

Tensor Tensor::Clone() const {
  if (!is_tensor()) return *this;
  Tensor copy = Empty(dtype_, shape_);
  if (bytes()) std::memcpy(copy.raw(), data_, bytes());
  return copy;
}

}  // namespace toolkit
