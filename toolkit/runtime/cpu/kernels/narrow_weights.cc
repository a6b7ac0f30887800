#include "kernels/narrow_weights.h"

#include <algorithm>
#include <vector>

#include "simd/gemm.h"

namespace toolkit {

namespace {

constexpr int64_t kGrainBytes = 16384;  // Of weights, that a thread takes at least.
constexpr int64_t kFewRows = 16;        // Up to so many, rows pass over the narrow weights.
constexpr int64_t kDepth = 192;         // Rows that are unpacked at a time: panels that stay in L1.

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

WeightFormat FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUInt8:
      return WeightFormat::kInt8;
    case DType::kInt4:
    case DType::kUInt4:
      return WeightFormat::kInt4;
    case DType::kFloat16:
      return WeightFormat::kFloat16;
    case DType::kBFloat16:
      return WeightFormat::kBFloat16;
    default:
      FailDType(dtype);
  }
}

bool IsUnsigned(DType dtype) { return dtype == DType::kUInt8 || dtype == DType::kUInt4; }

// Codes of signed types as they are; of unsigned ones less the middle of their range.
int8_t CodeOf(const Tensor& x, int64_t i) {
  const uint8_t bits = x.data<uint8_t>()[i];
  switch (x.dtype()) {
    case DType::kInt8:
      return static_cast<int8_t>(bits);
    case DType::kUInt8:
      return static_cast<int8_t>(bits ^ 0x80);
    case DType::kInt4:
      return static_cast<int8_t>(static_cast<int8_t>(bits << 4) >> 4);
    default:  // kUInt4.
      return static_cast<int8_t>((bits & 15) - 8);
  }
}

// Where the scale of a group and a column is.
struct ScaleStrides {
  ScaleStrides(const NarrowParts& w, int64_t k, int64_t n, int64_t* group) {
    *group = k;
    if (!w.scale) return;
    const Shape& s = w.scale->shape();
    const int k_axis = w.transposed ? 1 : 0;
    const int axis = NormalizeAxis(w.axis, 2);
    if (w.scale->size() == 1 && s.rank() < 2) return;
    if (w.block == 0) {
      TK_REQUIRE(s.rank() == 1 && axis != k_axis && s[0] == n, ErrorKind::kShape,
                 "one scale for each of the ", n, " columns is required, got ", s.ToString(),
                 " along axis ", axis);
      column = 1;
      return;
    }
    *group = std::min(w.block, k);
    const int64_t groups = CeilDiv(k, *group);
    const Shape want = w.transposed ? Shape{n, groups} : Shape{groups, n};
    TK_REQUIRE(w.block > 0 && axis == k_axis && s == want, ErrorKind::kShape,
               "scales for blocks of ", w.block, " rows must be ", want.ToString(), ", got ",
               s.ToString(), " along axis ", axis);
    row = w.transposed ? 1 : n, column = w.transposed ? groups : 1;
  }
  int64_t at(int64_t g, int64_t j) const { return g * row + j * column; }
  int64_t row = 0, column = 0;
};

}  // namespace

NarrowWeights::NarrowWeights(const NarrowParts& w) : format_(FormatOf(w.codes.dtype())) {
  const Tensor& codes = w.codes;
  TK_REQUIRE(codes.rank() == 2 && codes.size() > 0, ErrorKind::kShape,
             "weights must be a matrix, got ", codes.shape().ToString());
  const bool floats = Contains(kHalves, codes.dtype());
  TK_REQUIRE(floats ? !w.scale && !w.zero : w.scale && w.scale->dtype() == DType::kFloat,
             ErrorKind::kDType, "float32 scales are required for integers alone, got weights of ",
             Name(codes.dtype()));
  TK_REQUIRE(kernels().nr > 0, ErrorKind::kUnsupported, "weights of ", Name(codes.dtype()),
             " need a processor that widens them");
  k_ = codes.dim(w.transposed ? 1 : 0), n_ = codes.dim(w.transposed ? 0 : 1);
  const ScaleStrides strides(w, k_, n_, &group_);
  if (w.zero)
    TK_REQUIRE(w.zero->dtype() == codes.dtype() && w.zero->shape() == w.scale->shape(),
               ErrorKind::kShape, "zero points must be ", Name(codes.dtype()), " ",
               w.scale->shape().ToString(), ", got ", Name(w.zero->dtype()), " ",
               w.zero->shape().ToString());
  const float middle = !IsUnsigned(codes.dtype()) ? 0 : format_ == WeightFormat::kInt8 ? 128 : 8;
  const auto zero_of = [&](int64_t at) {
    return w.zero ? static_cast<float>(CodeOf(*w.zero, at)) : -middle;
  };
  for (int64_t i = 0; w.scale && i < w.scale->size(); ++i) zeros_ |= zero_of(i) != 0;

  const WeightKernels& kernels = this->kernels();
  const int64_t nr = kernels.nr, row_bytes = WeightRowBytes(format_, nr);
  const int64_t head = floats ? 0 : nr * 4 * (zeros_ ? 2 : 1), panels = CeilDiv(n_, nr);
  panel_bytes_ = groups() * head + k_ * row_bytes;
  data_ = Buffer::Allocate(static_cast<size_t>(panels * panel_bytes_));
  ThreadPool::Global().ParallelFor(panels, 1, [&](int64_t begin, int64_t end) {
    std::vector<int8_t> codes_row(static_cast<size_t>(nr));
    std::vector<uint16_t> floats_row(static_cast<size_t>(nr));
    for (int64_t p = begin; p < end; ++p) {
      auto* out = reinterpret_cast<uint8_t*>(data_->data()) + p * panel_bytes_;
      const int64_t j0 = p * nr, n = std::min(nr, n_ - j0);
      for (int64_t k = 0; k < k_; ++k, out += row_bytes) {
        if (head && k % group_ == 0) {
          auto* scale = reinterpret_cast<float*>(out);
          std::fill(scale, scale + head / 4, 0.0f);
          for (int64_t j = 0; j < n; ++j) {
            const int64_t at = strides.at(k / group_, j0 + j);
            scale[j] = w.scale->data<float>()[at];
            if (zeros_) scale[nr + j] = zero_of(at);
          }
          out += head;
        }
        for (int64_t j = 0; j < n; ++j) {
          const int64_t at = w.transposed ? (j0 + j) * k_ + k : k * n_ + j0 + j;
          if (floats)
            floats_row[static_cast<size_t>(j)] = codes.data<uint16_t>()[at];
          else
            codes_row[static_cast<size_t>(j)] = CodeOf(codes, at);
        }
        if (floats)
          kernels.pack_row(floats_row.data(), out);
        else
          kernels.pack_row(codes_row.data(), out);
      }
    }
  });
}

WeightPanel NarrowWeights::panel(int64_t p) const {
  return {reinterpret_cast<const uint8_t*>(data_->data()) + p * panel_bytes_, k_, group_, zeros_};
}

void NarrowWeights::Multiply(KernelContext& c, int64_t m, const float* a, float* y,
                             const float* bias, UnaryFn map, const double* params) const {
  if (m <= kFewRows) return MultiplyFew(c, m, a, y, bias, map, params);
  const GemmKernels<float>& gemm = GemmSimd().f32;
  const int64_t nr = gemm.nr, tiles = CeilDiv(m, gemm.mr);
  // Panels of rows, step by step of K: rows as they lie may share the sets of a cache.
  auto* rows = c.Scratch<float>(m * k_);
  c.pool().ParallelFor(tiles, 1 + kGrainBytes / (gemm.mr * k_ * 4), [&](int64_t t, int64_t end) {
    for (; t < end; ++t) {
      const int64_t i = m * t / tiles, height = m * (t + 1) / tiles - i;
      gemm.pack_transposed(height, k_, a + i * k_, k_, height, rows + i * k_);
    }
  });
  c.pool().ParallelFor(CeilDiv(n_, nr), 1, [&](int64_t begin, int64_t end) {
    const int64_t depth = std::min(kDepth, k_);
    const auto space = Buffer::Allocate(static_cast<size_t>(depth * nr) * sizeof(float));
    auto* block = reinterpret_cast<float*>(space->data());
    for (int64_t p = begin; p < end; ++p) {
      const int64_t j = p * nr, n = std::min(nr, n_ - j);
      for (int64_t k0 = 0; k0 < k_; k0 += depth) {
        const int64_t kc = std::min(depth, k_ - k0);
        kernels().unpack(panel(p), k0, kc, block);
        GemmStore<float> store = {1, k0 == 0 ? 0.0f : 1.0f, nullptr, nullptr};
        if (k0 == 0 && bias) store.col_bias = bias + j;
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t i = m * t / tiles, height = m * (t + 1) / tiles - i;
          gemm.ukernel[0][n <= gemm.lanes][height](kc, rows + i * k_ + k0 * height, height, block,
                                                   nr, y + i * n_ + j, n_, n, store);
        }
      }
    }
    const int64_t first = begin * nr, width = std::min(end * nr, n_) - first;
    for (int64_t i = 0; map && i < m; ++i)
      map(y + i * n_ + first, y + i * n_ + first, width, params);
  });
}

void NarrowWeights::MultiplyFew(KernelContext& c, int64_t m, const float* a, float* y,
                                const float* bias, UnaryFn map, const double* params) const {
  const WeightKernels& kernels = this->kernels();
  const int64_t nr = kernels.nr, count = groups();
  float* sums = nullptr;
  if (zeros_) {
    sums = c.Scratch<float>(m * count);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t g = 0; g < count; ++g) {
        float sum = 0;
        for (int64_t k = g * group_; k < std::min(k_, (g + 1) * group_); ++k) sum += a[i * k_ + k];
        sums[i * count + g] = sum;
      }
    }
  }
  const int64_t grain = std::max<int64_t>(1, kGrainBytes / panel_bytes_);
  c.pool().ParallelFor(CeilDiv(n_, nr), grain, [&](int64_t begin, int64_t end) {
    alignas(64) float tile[kMaxWeightRows * 64];
    for (int64_t i = 0; i < m; i += kMaxWeightRows) {
      const int64_t rows = std::min<int64_t>(kMaxWeightRows, m - i);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t j = p * nr, n = std::min(nr, n_ - j);
        kernels.rows[rows](panel(p), a + i * k_, k_, sums ? sums + i * count : nullptr, tile, nr);
        for (int64_t r = 0; r < rows; ++r) {
          float* out = y + (i + r) * n_ + j;
          const float* from = tile + r * nr;
          if (bias)
            for (int64_t l = 0; l < n; ++l) out[l] = from[l] + bias[j + l];
          else
            std::copy(from, from + n, out);
        }
      }
      if (!map) continue;
      const int64_t first = begin * nr, width = std::min(end * nr, n_) - first;
      for (int64_t r = 0; r < rows; ++r) {
        float* out = y + (i + r) * n_ + first;
        map(out, out, width, params);
      }
    }
  });
}

}  // namespace toolkit
