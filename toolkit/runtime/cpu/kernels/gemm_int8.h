// Products of 8-bit integers less their zero points, with sums of 32 bits that wrap around.
//
// The result is exact: C[i, j] = sum_k (A[i, k] - a_zero[i]) (B[k, j] - b_zero[j])
//   = (AB)[i, j] - a_zero[i] columns[j] - b_zero[j] (rows[i] - K a_zero[i]),
// where rows and columns are sums of A's rows and of B's columns.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/kernel.h"
#include "simd/gemm_int8.h"

namespace toolkit {

// The fastest that the processor runs; TOOLKIT_VNNI=0 leaves out its dot-product instructions.
const Int8Kernels& ActiveInt8();

constexpr DTypeSet kBytes = Bit(DType::kInt8) | Bit(DType::kUInt8);
// What moves a type's elements to the kind that A (signed) or B (unsigned) holds.
inline uint8_t FlipOfA(DType t) { return t == DType::kUInt8 ? 0x80 : 0; }
inline uint8_t FlipOfB(DType t) { return t == DType::kInt8 ? 0x80 : 0; }

// A packed operand: rows of A by panels of mr. Zero points as A and B hold them.
class PackedRows {
 public:
  // Into memory of its own, or for the time of a call into `context`'s.
  PackedRows(int64_t rows, int64_t k, const uint8_t* x, int64_t ld, uint8_t flip,
             KernelContext* context = nullptr);

  int64_t rows() const { return rows_; }
  int64_t k() const { return k_; }
  int64_t groups() const { return groups_; }
  int64_t panels() const { return static_cast<int64_t>(begins_.size()) - 1; }
  int64_t begin(int64_t panel) const { return begins_[static_cast<size_t>(panel)]; }
  const void* panel(int64_t panel) const;
  const int32_t* sums() const { return sums_.data(); }
  bool defined() const { return rows_ > 0; }
  size_t bytes() const { return owned_ ? owned_->bytes() : 0; }
  PackedRows() = default;

 private:
  int64_t rows_ = 0, k_ = 0, groups_ = 0;
  std::vector<int64_t> begins_;
  std::vector<int32_t> sums_;
  char* data_ = nullptr;
  std::shared_ptr<Buffer> owned_;
};

// B by panels of nr columns.
class PackedColumns {
 public:
  PackedColumns() = default;
  PackedColumns(int64_t k, int64_t n, const uint8_t* x, int64_t ld, uint8_t flip);
  bool defined() const { return n_ > 0; }
  size_t bytes() const { return data_ ? data_->bytes() : 0; }
  int64_t n() const { return n_; }
  int64_t panels() const;
  const uint8_t* panel(int64_t panel) const;
  const int32_t* sums() const { return sums_.data(); }

 private:
  int64_t k_ = 0, n_ = 0;
  std::vector<int32_t> sums_;
  std::shared_ptr<Buffer> data_;
};

// Zero points as A and B hold them; `step` 0: one for all.
struct ZeroPoints {
  const int32_t* a;
  int a_step;
  const int32_t* b;
  int b_step;
};

// Where a tile of C goes, and what else is done to it. Called from several threads: rows [i, i +
// rows) and columns [j, j + n), n of nr; the zero points are in `f` already.
using TileSink = std::function<void(int64_t i, int rows, int64_t j, int64_t n, const int32_t* tile,
                                    TileFinish& f)>;

// Splits over panels of B and blocks of A's panels.
void Int8Gemm(const PackedRows& a, const PackedColumns& b, const ZeroPoints& zero,
              const TileSink& sink);

// Byte offsets of the groups of a packed panel.
std::vector<int64_t> PanelOffsets(int64_t groups);

}  // namespace toolkit
