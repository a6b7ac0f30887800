// Shape, Buffer and Tensor: dense row-major values, shared by reference count; and the values that
// are no tensors: sequences, maps, optionals.
// Strided views are deliberately absent: a kernel always sees contiguous data.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace toolkit {

constexpr int kMaxRank = 16;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(dims.begin(), dims.size()) {}
  Shape(const int64_t* dims, size_t rank);
  // `rank` dimensions, all set to `fill`.
  static Shape Filled(int rank, int64_t fill);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[i]; }
  int64_t& operator[](int i) { return dims_[i]; }
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }
  void push_back(int64_t dim);
  bool operator==(const Shape& o) const {
    return rank_ == o.rank_ && std::memcmp(dims_, o.dims_, rank_ * sizeof(int64_t)) == 0;
  }
  bool operator!=(const Shape& o) const { return !(*this == o); }
  // Product of dimensions [from, to); 1 when empty.
  int64_t Count(int from, int to) const;
  int64_t Count() const { return Count(0, rank_); }
  std::string ToString() const;  // "(2, 3)", as numpy writes it.

 private:
  int rank_ = 0;
  int64_t dims_[kMaxRank];
};

// Maps a possibly negative axis into [0, rank); fails with what was required.
int NormalizeAxis(int64_t axis, int rank);
// numpy broadcasting of two shapes; fails naming both.
Shape BroadcastShapes(const Shape& a, const Shape& b);
// Row-major strides in elements.
Shape StridesOf(const Shape& shape);

// A block of memory: aligned to 64 bytes when we allocate it, or borrowed with a release callback.
class Buffer {
 public:
  static std::shared_ptr<Buffer> Allocate(size_t bytes);
  // For strings: zeroed, and its elements are kept alive (core/strings.h).
  static std::shared_ptr<Buffer> AllocateStrings(size_t bytes);
  static std::shared_ptr<Buffer> Borrow(void* data, size_t bytes, std::function<void()> release);
  // Before an allocation whose size may not come again: frees as much of what is kept, unless a
  // block of that size is among it.
  static void MakeRoom(size_t bytes);
  // Gives the system back what is kept for later allocations.
  static void Trim();
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Buffer(void* data, size_t bytes, std::function<void()> release)
      : data_(static_cast<char*>(data)), bytes_(bytes), release_(std::move(release)) {}
  char* data_;
  size_t bytes_;
  std::function<void()> release_;
};

class Tensor {
 public:
  Tensor() = default;
  // Owning, uninitialised; strings are empty.
  static Tensor Empty(DType dtype, const Shape& shape);
  // A sequence of values of shape (n), or a map of two: its keys and its values. Items must own
  // their memory.
  static Tensor Sequence(std::vector<Tensor> items);
  static Tensor Map(Tensor keys, Tensor values);
  static Tensor None();  // An optional without a value.
  // Not owning when `buffer` is null (arena memory).
  Tensor(DType dtype, const Shape& shape, void* data, std::shared_ptr<Buffer> buffer = nullptr)
      : dtype_(dtype), shape_(shape), data_(static_cast<char*>(data)), buffer_(std::move(buffer)) {}

  bool defined() const { return dtype_ != DType::kUndefined; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t size() const { return shape_.Count(); }
  size_t bytes() const { return static_cast<size_t>(size()) * ItemSize(dtype_); }
  const std::shared_ptr<Buffer>& buffer() const { return buffer_; }

  void* raw() const { return data_; }
  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(data_);
  }
  // The same memory under another shape of equal size.
  Tensor Reshaped(const Shape& shape) const { return Tensor(dtype_, shape, data_, buffer_); }
  // Elements from `start` on, sharing the memory; they must lie within it.
  Tensor Part(int64_t start, const Shape& shape) const {
    return Tensor(dtype_, shape, data_ + start * static_cast<int64_t>(ItemSize(dtype_)), buffer_);
  }
  // A copy with memory of its own. Sequences and maps never change, so theirs is shared.
  Tensor Clone() const;

  bool is_tensor() const { return dtype_ < DType::kSequence; }
  // Of a sequence or a map; fails for a tensor.
  const std::vector<Tensor>& items() const {
    TK_REQUIRE(items_, ErrorKind::kDType, "a sequence or a map is required, got ", Name(dtype_));
    return *items_;
  }

 private:
  DType dtype_ = DType::kUndefined;
  Shape shape_;
  char* data_ = nullptr;
  std::shared_ptr<Buffer> buffer_;
  std::shared_ptr<const std::vector<Tensor>> items_;
};

// Byte size of a tensor, refused by arithmetic before anything is allocated.
size_t CheckedBytes(DType dtype, const Shape& shape);

}  // namespace toolkit
