#include "kernels/movement.h"

#include "simd/transpose.h"

namespace toolkit {

std::vector<int64_t> ReadInts(const Tensor& t, const char* what) {
  TK_REQUIRE(t.dtype() == DType::kInt64 || t.dtype() == DType::kInt32, ErrorKind::kDType, what,
             " must be int64 or int32, got ", Name(t.dtype()));
  TK_REQUIRE(t.rank() <= 1, ErrorKind::kShape, what, " must have rank 0 or 1, got shape ",
             t.shape().ToString());
  const int64_t n = t.size();
  if (t.dtype() == DType::kInt64)
    return std::vector<int64_t>(t.data<int64_t>(), t.data<int64_t>() + n);
  return std::vector<int64_t>(t.data<int32_t>(), t.data<int32_t>() + n);
}

int64_t ReadInt(const Tensor& t, const char* what) {
  const std::vector<int64_t> values = ReadInts(t, what);
  TK_REQUIRE(values.size() == 1, ErrorKind::kShape, what, " must hold one element, got shape ",
             t.shape().ToString());
  return values[0];
}

std::vector<int> NormalizeAxes(const std::vector<int64_t>& axes, int rank) {
  std::vector<int> result;
  for (int64_t axis : axes) {
    const int a = NormalizeAxis(axis, rank);
    TK_REQUIRE(std::find(result.begin(), result.end(), a) == result.end(),
               ErrorKind::kInvalidArgument, "axes must differ, got ", axis, " twice");
    result.push_back(a);
  }
  return result;
}

// Offsets into both layouts while the leading `rank` dimensions are walked in row-major order.
struct StridedCopy::Walker {
  Walker(const StridedCopy& copy, int rank, int64_t at) : copy(copy), rank(rank) {
    for (int i = rank - 1; i >= 0; --i) {
      index[i] = at % copy.dims_[i];
      at /= copy.dims_[i];
      dst += index[i] * copy.dst_[i];
      src += index[i] * copy.src_[i];
    }
  }
  void Next() {
    for (int i = rank - 1; i >= 0; --i) {
      dst += copy.dst_[i];
      src += copy.src_[i];
      if (++index[i] < copy.dims_[i]) return;
      dst -= copy.dims_[i] * copy.dst_[i];
      src -= copy.dims_[i] * copy.src_[i];
      index[i] = 0;
    }
  }
  const StridedCopy& copy;
  int rank;
  int64_t dst = 0, src = 0;
  int64_t index[kMaxDims];
};

void StridedCopy::Add(int64_t dim, int64_t dst_stride, int64_t src_stride) {
  TK_REQUIRE(rank_ < kMaxDims, ErrorKind::kShape, "rank must be at most ", kMaxRank);
  dims_[rank_] = dim;
  dst_[rank_] = dst_stride * item_;
  src_[rank_++] = src_stride * item_;
}

// Drops dimensions of 1, joins those that are one in both layouts, and widens the item.
void StridedCopy::Simplify() {
  int kept = 0;
  for (int i = 0; i < rank_; ++i) {
    if (dims_[i] == 1) continue;
    if (kept > 0 && dst_[kept - 1] == dims_[i] * dst_[i] && src_[kept - 1] == dims_[i] * src_[i]) {
      dims_[kept - 1] *= dims_[i];
    } else {
      dims_[kept++] = dims_[i];
    }
    dst_[kept - 1] = dst_[i];
    src_[kept - 1] = src_[i];
  }
  rank_ = kept;
  if (rank_ > 0 && dst_[rank_ - 1] == item_ && src_[rank_ - 1] == item_) item_ *= dims_[--rank_];
}

void StridedCopy::Run(ThreadPool& pool, void* dst, const void* src) {
  for (int i = 0; i < rank_; ++i)
    if (dims_[i] == 0) return;
  Simplify();
  char* d = static_cast<char*>(dst);
  const char* s = static_cast<const char*>(src);
  if (RunTransposed(pool, d, s)) return;
  if (item_ >= 4096 || rank_ == 0)
    RunRows(pool, d, s);
  else
    RunUnits(pool, d, s);
}

// Long contiguous runs: memcpy, split over threads by bytes.
void StridedCopy::RunRows(ThreadPool& pool, char* dst, const char* src) {
  int64_t rows = 1;
  for (int i = 0; i < rank_; ++i) rows *= dims_[i];
  pool.ParallelFor(rows * item_, kCopyGrain, [&](int64_t begin, int64_t end) {
    int64_t offset = begin % item_;
    for (Walker w(*this, rank_, begin / item_); begin < end; w.Next()) {
      const int64_t n = std::min(item_ - offset, end - begin);
      std::memcpy(dst + w.dst + offset, src + w.src + offset, static_cast<size_t>(n));
      begin += n;
      offset = 0;
    }
  });
}

namespace {

template <class T>
void CopyLine(char* dst, int64_t dst_step, const char* src, int64_t src_step, int64_t n) {
  T value;
  if (src_step == 0) {
    std::memcpy(&value, src, sizeof(T));
    if (dst_step == sizeof(T)) {
      std::fill_n(reinterpret_cast<T*>(dst), n, value);
    } else {
      for (int64_t i = 0; i < n; ++i) std::memcpy(dst + i * dst_step, &value, sizeof(T));
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    std::memcpy(&value, src + i * src_step, sizeof(T));
    std::memcpy(dst + i * dst_step, &value, sizeof(T));
  }
}

using LineFn = void (*)(char*, int64_t, const char*, int64_t, int64_t);

LineFn LineOf(int64_t item) {
  switch (item) {
    case 1:
      return CopyLine<uint8_t>;
    case 2:
      return CopyLine<uint16_t>;
    case 4:
      return CopyLine<uint32_t>;
    case 8:
      return CopyLine<uint64_t>;
    case 16:
      return CopyLine<Bytes16>;
    default:
      return nullptr;
  }
}

}  // namespace

// Short runs or single elements along the innermost dimension.
void StridedCopy::RunUnits(ThreadPool& pool, char* dst, const char* src) {
  int64_t outer = 1;
  for (int i = 0; i + 1 < rank_; ++i) outer *= dims_[i];
  const int64_t line = dims_[rank_ - 1];
  const int64_t dst_step = dst_[rank_ - 1], src_step = src_[rank_ - 1];
  const LineFn copy = LineOf(item_);
  const int64_t grain = std::max<int64_t>(1, kCopyGrain / std::max<int64_t>(item_, 8));
  pool.ParallelFor(outer * line, grain, [&](int64_t begin, int64_t end) {
    int64_t offset = begin % line;
    for (Walker w(*this, rank_ - 1, begin / line); begin < end; w.Next()) {
      const int64_t n = std::min(line - offset, end - begin);
      char* d = dst + w.dst + offset * dst_step;
      const char* s = src + w.src + offset * src_step;
      if (copy) {
        copy(d, dst_step, s, src_step, n);
      } else {
        for (int64_t i = 0; i < n; ++i)
          std::memcpy(d + i * dst_step, s + i * src_step, static_cast<size_t>(item_));
      }
      begin += n;
      offset = 0;
    }
  });
}

// The innermost dimension of dst (a) is strided in src, whose own innermost (b) is another:
// matrices of b rows and a columns are moved tile by tile. Each tile passes through a buffer in L1,
// so that whole cache lines are read and written once even where the strides are powers of two.
bool StridedCopy::RunTransposed(ThreadPool& pool, char* dst, const char* src) {
  if (rank_ < 2 || item_ > 16 || (item_ & (item_ - 1))) return false;
  if (dst_[rank_ - 1] != item_ || src_[rank_ - 1] == 0) return false;
  int b = -1;
  for (int i = 0; i + 1 < rank_; ++i)
    if (src_[i] == item_) b = i;
  if (b < 0 || dims_[b] < 2) return false;

  constexpr int64_t kTile = 64, kTileBytes = 256;  // Columns of dst; bytes of a row of src.
  const int64_t a_dim = dims_[rank_ - 1], a_src = src_[rank_ - 1];
  const int64_t b_dim = dims_[b], b_dst = dst_[b];
  // A few rows or columns (3 channels) are not worth the buffer: long tiles, written in place.
  const bool direct = std::min(a_dim, b_dim) * item_ < 64;
  const int64_t tile_a = direct ? 1024 : kTile, tile_b = direct ? 1024 : kTileBytes / item_;
  const int64_t a_tiles = (a_dim + tile_a - 1) / tile_a, b_tiles = (b_dim + tile_b - 1) / tile_b;
  const TransposeTileFn tile = TransposeTiles().tile[__builtin_ctzll(item_)];

  StridedCopy rest = *this;  // The dimensions besides a and b.
  rest.rank_ = 0;
  int64_t outer = 1;
  for (int i = 0; i + 1 < rank_; ++i) {
    if (i == b) continue;
    rest.dims_[rest.rank_] = dims_[i];
    rest.dst_[rest.rank_] = dst_[i];
    rest.src_[rest.rank_++] = src_[i];
    outer *= dims_[i];
  }
  const int64_t per_matrix = a_tiles * b_tiles;
  const int64_t tile_bytes = std::min(tile_a, a_dim) * std::min(tile_b, b_dim) * item_;
  const int64_t grain = std::max<int64_t>(1, kCopyGrain / tile_bytes);
  pool.ParallelFor(outer * per_matrix, grain, [&](int64_t begin, int64_t end) {
    alignas(64) char buffer[kTile * kTileBytes];
    int64_t t = begin % per_matrix;
    Walker w(rest, rest.rank_, begin / per_matrix);
    for (; begin < end; ++begin) {
      const int64_t a0 = t / b_tiles * tile_a, b0 = t % b_tiles * tile_b;
      const int64_t na = std::min(tile_a, a_dim - a0), nb = std::min(tile_b, b_dim - b0);
      const char* s = src + w.src + a0 * a_src + b0 * item_;
      char* d = dst + w.dst + a0 * item_ + b0 * b_dst;
      if (direct) {
        tile(d, b_dst, s, a_src, na, nb);
      } else {
        tile(buffer, kTile * item_, s, a_src, na, nb);
        for (int64_t i = 0; i < nb; ++i)
          std::memcpy(d + i * b_dst, buffer + i * kTile * item_, static_cast<size_t>(na * item_));
      }
      if (++t == per_matrix) {
        t = 0;
        w.Next();
      }
    }
  });
  return true;
}

void FillWith(ThreadPool& pool, const Tensor& y, const void* value) {
  DispatchBySize(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T v;
    std::memcpy(&v, value, sizeof(T));
    T* out = y.data<T>();
    pool.ParallelFor(y.size(), 16384,
                     [&](int64_t begin, int64_t end) { std::fill(out + begin, out + end, v); });
  });
}

void FillZero(ThreadPool& pool, const Tensor& y) {
  char* out = y.data<char>();
  pool.ParallelFor(static_cast<int64_t>(y.bytes()), 65536, [&](int64_t begin, int64_t end) {
    std::memset(out + begin, 0, static_cast<size_t>(end - begin));
  });
}

}  // namespace toolkit
