// Packing and the walk over tiles; the arithmetic is in simd/gemm_int8.cc.
#include "kernels/gemm_int8.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace toolkit {

namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool HasVnni() {
#if defined(__x86_64__)
  const char* text = std::getenv("TOOLKIT_VNNI");
  return !(text && text[0] == '0') && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

}  // namespace

const Int8Kernels& ActiveInt8() {
  static const Int8Kernels& kernels =
      Int8Functions().vnni.mr > 0 && HasVnni() ? Int8Functions().vnni : Int8Functions().plain;
  return kernels;
}

PackedRows::PackedRows(int64_t rows, int64_t k, const uint8_t* x, int64_t ld, uint8_t flip,
                       KernelContext* context)
    : rows_(rows), k_(k), sums_(static_cast<size_t>(rows)) {
  const Int8Kernels& kernels = ActiveInt8();
  groups_ = CeilDiv(k, kernels.group);
  const int64_t panels = CeilDiv(rows, kernels.mr);
  for (int64_t p = 0; p <= panels; ++p) begins_.push_back(panels ? rows * p / panels : 0);
  const int64_t bytes = std::max<int64_t>(1, rows * groups_ * kernels.group * kernels.a_item);
  if (!context) owned_ = Buffer::Allocate(static_cast<size_t>(bytes));
  data_ = context ? context->Scratch<char>(bytes) : owned_->data();
  ThreadPool::Global().ParallelFor(
      panels, 1 + 16384 / (kernels.mr * (k + 1)), [&](int64_t p, int64_t end) {
        for (; p < end; ++p) {
          const int64_t from = begin(p);
          kernels.pack_a(begin(p + 1) - from, k, x + from * ld, ld, flip,
                         const_cast<void*>(panel(p)), sums_.data() + from);
        }
      });
}

const void* PackedRows::panel(int64_t p) const {
  const Int8Kernels& kernels = ActiveInt8();
  return data_ + begin(p) * groups_ * kernels.group * kernels.a_item;
}

std::vector<int64_t> PanelOffsets(int64_t groups) {
  const Int8Kernels& kernels = ActiveInt8();
  std::vector<int64_t> offsets(static_cast<size_t>(groups));
  for (int64_t g = 0; g < groups; ++g)
    offsets[static_cast<size_t>(g)] = g * kernels.nr * kernels.group;
  return offsets;
}

int64_t PackedColumns::panels() const { return CeilDiv(n_, ActiveInt8().nr); }

const uint8_t* PackedColumns::panel(int64_t p) const {
  const Int8Kernels& kernels = ActiveInt8();
  return reinterpret_cast<const uint8_t*>(data_->data()) +
         p * CeilDiv(k_, kernels.group) * kernels.group * kernels.nr;
}

PackedColumns::PackedColumns(int64_t k, int64_t n, const uint8_t* x, int64_t ld, uint8_t flip)
    : k_(k), n_(n) {
  const Int8Kernels& kernels = ActiveInt8();
  const int64_t nr = kernels.nr, groups = CeilDiv(k, kernels.group), count = panels();
  sums_.resize(static_cast<size_t>(count * nr));
  const int64_t bytes = count * nr * groups * kernels.group;
  data_ = Buffer::Allocate(static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  const std::vector<int64_t> offsets = PanelOffsets(groups);
  // A row of ones sums the columns.
  const std::vector<uint8_t> ones(static_cast<size_t>(k), 1);
  const PackedRows summing(1, k, ones.data(), k, 0);
  ThreadPool::Global().ParallelFor(count, 1 + 16384 / (nr * (k + 1)), [&](int64_t p, int64_t end) {
    for (; p < end; ++p) {
      uint8_t* out = const_cast<uint8_t*>(panel(p));
      kernels.pack_b(k, std::min(nr, n - p * nr), nr, x + p * nr, ld, flip, out);
      kernels.ukernel[1](groups, summing.panel(0), out, offsets.data(), sums_.data() + p * nr, nr);
    }
  });
}

void Int8Gemm(const PackedRows& a, const PackedColumns& b, const ZeroPoints& zero,
              const TileSink& sink) {
  const Int8Kernels& kernels = ActiveInt8();
  const int64_t nr = kernels.nr, groups = a.groups(), columns = b.panels(), rows = a.panels();
  if (columns == 0 || rows == 0) return;
  const std::vector<int64_t> offsets = PanelOffsets(groups);
  const bool a_zeros = zero.a_step || zero.a[0] != 0, b_zeros = zero.b_step || zero.b[0] != 0;
  ThreadPool& pool = ThreadPool::Global();
  // A block of A's panels stays in the second-level cache while B's pass by.
  const int64_t panel_bytes = kernels.mr * groups * kernels.group * kernels.a_item;
  int64_t block = std::max<int64_t>(1, (256 << 10) / std::max<int64_t>(panel_bytes, 1));
  if (columns < 2 * pool.num_threads())
    block = std::min(block, std::max<int64_t>(1, rows * columns / (2 * pool.num_threads())));
  const int64_t blocks = CeilDiv(rows, block);
  const int64_t work = std::max<int64_t>(1, std::min(block, rows) * kernels.mr * nr * a.k());
  pool.ParallelFor(blocks * columns, 1 + (1 << 18) / work, [&](int64_t at, int64_t end) {
    alignas(64) int32_t tile[kMaxInt8Rows * kMaxInt8Columns];
    int32_t a_zero[kMaxInt8Rows], rest[kMaxInt8Rows], b_zero[kMaxInt8Columns];
    for (; at < end; ++at) {
      const int64_t p = at % columns, j = p * nr, n = std::min(nr, b.n() - j);
      const int64_t first = at / columns * block, last = std::min(rows, first + block);
      const uint8_t* panel = b.panel(p);
      for (int64_t l = 0; l < nr; ++l)
        b_zero[l] = zero.b[zero.b_step ? std::min(j + l, b.n() - 1) : 0];
      for (int64_t r = first; r < last; ++r) {
        const int64_t i0 = a.begin(r), height = a.begin(r + 1) - i0;
        kernels.ukernel[height](groups, a.panel(r), panel, offsets.data(), tile, nr);
        for (int64_t i = 0; i < height; ++i) {
          a_zero[i] = zero.a[(i0 + i) * zero.a_step];
          rest[i] =
              static_cast<int32_t>(static_cast<uint32_t>(a.sums()[i0 + i]) -
                                   static_cast<uint32_t>(a.k()) * static_cast<uint32_t>(a_zero[i]));
        }
        TileFinish f;
        f.a_zero = a_zero, f.rest = rest;
        if (a_zeros) f.columns = b.sums() + j;
        if (b_zeros) f.b_zero = b_zero;
        sink(i0, static_cast<int>(height), j, n, tile, f);
      }
    }
  });
}

}  // namespace toolkit
