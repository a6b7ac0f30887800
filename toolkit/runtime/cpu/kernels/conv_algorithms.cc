#include "kernels/conv_algorithms.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/gemm.h"
#include "kernels/conv_depthwise.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_sources.h"
#include "kernels/conv_winograd.h"

namespace toolkit {

int64_t ConvShape::in_count() const { return InCount(window); }
int64_t ConvShape::out_count() const { return OutCount(window); }
int64_t ConvShape::taps() const { return TapCount(window); }

namespace {

constexpr int64_t kMergeBelow = 64;      // Positions that are too little work under each weight ...
constexpr int64_t kMergeWaste = 200;     // ... or leave a share of their vectors empty.
constexpr int64_t kMergedColumns = 512;  // Columns of a merged product.

// One product a group and image: y = w im2col(x).
template <class T>
void ForwardImages(const ConvShape& s, bool pointwise, const T* x, const T* w, const T* packed_w,
                   const ConvEpilogue<T>& e, T* y) {
  const int64_t k = s.in_channels * s.taps(), out_count = s.out_count(), in_count = s.in_count();
  ForEachImage(s.batch * s.group, [&](int64_t i) {
    const int64_t g = i % s.group;
    const T* image = x + i * s.in_channels * in_count;
    const PaddedImages<T> padded(s.window, image, 1, s.in_channels, 0);
    const Im2Col<T> source(padded);
    GemmArgs<T> args = {s.out_channels, out_count, k};
    if (packed_w)
      args.packed_a = packed_w + g * s.out_channels * k;
    else
      args.a = w + g * s.out_channels * k, args.lda = k;
    if (pointwise)
      args.b = image, args.ldb = in_count;
    else
      args.b_source = &source;
    if (e.bias) args.row_bias = e.bias + g * s.out_channels;
    if (e.residual) args.add = e.residual + i * s.out_channels * out_count;
    args.bounded = e.bounded();
    args.low = e.low, args.high = e.high;
    args.map = e.activation, args.map_params = e.params;
    args.c = y + i * s.out_channels * out_count, args.ldc = out_count;
    Gemm(args);
  });
}

// Small maps: several images side by side in one product, so that the weights are read once for
// all and no panel is left half empty; the product is then dealt out to the images.
template <class T>
void ForwardMerged(const ConvShape& s, bool pointwise, const T* x, const T* w, const T* packed_w,
                   const ConvEpilogue<T>& e, T* y) {
  const int64_t k = s.in_channels * s.taps(), positions = s.out_count();
  const int64_t in_image = s.group * s.in_channels * s.in_count();
  const int64_t out_image = s.group * s.out_channels * positions;
  const int64_t chunk = std::max<int64_t>(1, kMergedColumns / positions);
  const int64_t chunks = (s.batch + chunk - 1) / chunk;
  ForEachImage(s.group * chunks, [&](int64_t i) {
    const int64_t g = i / chunks, n0 = i % chunks * chunk, images = std::min(chunk, s.batch - n0);
    const T* from = x + n0 * in_image + g * s.in_channels * s.in_count();
    const PaddedImages<T> padded(s.window, from, images, s.in_channels, in_image);
    const Im2Col<T> taps(padded);
    const ChannelSource<T> channels(from, positions, in_image);
    const int64_t columns = images * positions;
    const auto buffer = Buffer::Allocate(static_cast<size_t>(s.out_channels * columns) * sizeof(T));
    GemmArgs<T> args = {s.out_channels, columns, k};
    if (packed_w)
      args.packed_a = packed_w + g * s.out_channels * k;
    else
      args.a = w + g * s.out_channels * k, args.lda = k;
    args.b_source = pointwise ? static_cast<const PanelSource<T>*>(&channels) : &taps;
    if (e.bias) args.row_bias = e.bias + g * s.out_channels;
    args.c = reinterpret_cast<T*>(buffer->data()), args.ldc = columns;
    Gemm(args);
    for (int64_t n = 0; n < images; ++n) {
      const int64_t to = (n0 + n) * out_image + g * s.out_channels * positions;
      for (int64_t o = 0; o < s.out_channels; ++o)
        std::memcpy(y + to + o * positions, args.c + o * columns + n * positions,
                    static_cast<size_t>(positions) * sizeof(T));
      FinishRange(e, to, to + s.out_channels * positions, y);
    }
  });
}

template <class T>
void ForwardGemm(const ConvShape& s, bool pointwise, const T* x, const T* w, const T* packed_w,
                 const ConvEpilogue<T>& e, T* y) {
  const int64_t n = s.out_count();
  const bool merge = s.batch > 1 && (n < kMergeBelow || (n < kMergeWaste && WastesVectors(n)));
  (merge ? ForwardMerged<T> : ForwardImages<T>)(s, pointwise, x, w, packed_w, e, y);
}

// Few positions, which as columns would leave vectors half empty, are the rows of the product:
// y^T = im2col(x)^T w^T, then turned. The matrix of im2col is small, so it is written out.
void ForwardTransposed(const ConvShape& s, const float* x, const float* packed,
                       const ConvEpilogue<float>& e, float* y) {
  const int64_t k = s.in_channels * s.taps(), o = s.out_channels, positions = s.out_count();
  const bool unit = IsUnit(s.window);
  const auto size = static_cast<size_t>((unit ? 0 : k) + o) * static_cast<size_t>(positions);
  const auto buffer = Buffer::Allocate(size * sizeof(float));
  float* product = reinterpret_cast<float*>(buffer->data());
  float* columns = product + o * positions;
  ThreadPool& pool = ThreadPool::Global();
  for (int64_t i = 0; i < s.batch * s.group; ++i) {
    const int64_t g = i % s.group;
    const float* image = x + i * s.in_channels * s.in_count();
    if (!unit) {
      const PaddedImages<float> padded(s.window, image, 1, s.in_channels, 0);
      pool.ParallelFor(k, 64, [&](int64_t begin, int64_t end) {
        RowsOf(0.0f).im2col(padded.window(), padded.image(0), begin, end - begin, 0, positions,
                            positions, columns + begin * positions);
      });
    }
    GemmArgs<float> args = {positions, o, k};
    args.a = unit ? image : columns, args.lda = positions, args.trans_a = true;
    args.packed_b = packed + g * PackedGemmBSize<float>(k, o);
    args.c = product, args.ldc = o;
    if (e.bias) args.col_bias = e.bias + g * o;
    Gemm(args);
    pool.ParallelFor(o, 64, [&](int64_t begin, int64_t end) {
      GemmTranspose<float>(positions, end - begin, product + begin, o, positions,
                           y + (i * o + begin) * positions);
      FinishRange(e, (i * o + begin) * positions, (i * o + end) * positions, y);
    });
  }
}

// The side of Winograd's tiles of y.
int TileOf(ConvAlgorithm algorithm) {
  return algorithm == ConvAlgorithm::kWinograd2   ? 2
         : algorithm == ConvAlgorithm::kWinograd4 ? 4
                                                  : 6;
}

bool IsWinograd(ConvAlgorithm algorithm) {
  return algorithm == ConvAlgorithm::kWinograd2 || algorithm == ConvAlgorithm::kWinograd4 ||
         algorithm == ConvAlgorithm::kWinograd6;
}

// dw^T = im2col(x) dy^T with K running over the whole batch in order.
template <class T>
void WeightGradientGemm(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const int64_t k = s.in_channels * s.taps(), positions = s.out_count(), in_count = s.in_count();
  const int64_t in_image = s.group * s.in_channels * in_count;
  const int64_t out_image = s.group * s.out_channels * positions;
  ForEachImage(s.group, [&](int64_t g) {
    const PaddedImages<T> padded(s.window, x + g * s.in_channels * in_count, s.batch, s.in_channels,
                                 in_image);
    const Im2Col<T> source(padded);
    const GradientColumns<T> columns(dy + g * s.out_channels * positions, positions, out_image);
    const auto buffer = Buffer::Allocate(static_cast<size_t>(k * s.out_channels) * sizeof(T));
    GemmArgs<T> args = {k, s.out_channels, s.batch * positions};
    args.a_source = &source;
    args.b_source = &columns;
    args.c = reinterpret_cast<T*>(buffer->data()), args.ldc = s.out_channels;
    Gemm(args);
    constexpr int64_t kColumns = 16;  // A cache line of the source.
    ThreadPool::Global().ParallelFor(s.out_channels, kColumns, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; o += kColumns)
        GemmTranspose<T>(k, std::min(kColumns, end - o), args.c + o, s.out_channels, k,
                         dw + (g * s.out_channels + o) * k);
    });
  });
}

}  // namespace

template <class T>
int64_t PackedConvSize(const ConvShape& s, ConvAlgorithm algorithm) {
  const int64_t k = s.in_channels * s.taps();
  if (IsWinograd(algorithm)) return WinogradWeightSize(s, TileOf(algorithm));
  if (algorithm == ConvAlgorithm::kPhases) return PackedPhasesSize<T>(s);
  if (algorithm == ConvAlgorithm::kTransposed)
    return s.group * PackedGemmBSize<T>(k, s.out_channels);
  return s.group * s.out_channels * k;
}

template <class T>
std::shared_ptr<Buffer> PackConvWeights(const ConvShape& s, ConvAlgorithm algorithm, bool adjoint,
                                        const T* w) {
  const int64_t k = s.in_channels * s.taps(), size = s.out_channels * k;
  const bool transposed = algorithm == ConvAlgorithm::kTransposed;
  const auto buffer =
      Buffer::Allocate(static_cast<size_t>(PackedConvSize<T>(s, algorithm)) * sizeof(T));
  T* packed = reinterpret_cast<T*>(buffer->data());
  if (algorithm == ConvAlgorithm::kPhases) {
    PackPhases(s, w, packed);
    return buffer;
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    if (algorithm == ConvAlgorithm::kDirect) DirectWeights(s, adjoint, w, packed);
    if (IsWinograd(algorithm)) WinogradWeights(s, TileOf(algorithm), adjoint, w, packed);
    if (algorithm == ConvAlgorithm::kDirect || IsWinograd(algorithm)) return buffer;
  }
  if (algorithm == ConvAlgorithm::kDisjoint) {
    const int64_t m = s.in_channels * s.taps();
    for (int64_t g = 0; g < s.group; ++g)
      PackGemmA(true, m, s.out_channels, w + g * size, m, packed + g * size);
    return buffer;
  }
  if (transposed) {
    std::vector<T> rows(adjoint ? size : 0);
    for (int64_t g = 0; g < s.group; ++g) {
      const FlippedWeights<T> flipped(w + g * size, s.out_channels, s.taps());
      for (int64_t o = 0; adjoint && o < s.out_channels; ++o)
        flipped.Pack(0, k, o, 1, 1, rows.data() + o * k);
      PackGemmB(true, k, s.out_channels, adjoint ? rows.data() : w + g * size, k,
                packed + g * PackedGemmBSize<T>(k, s.out_channels));
    }
    return buffer;
  }
  for (int64_t g = 0; g < s.group; ++g) {
    const FlippedWeights<T> flipped(w + g * size, s.out_channels, s.taps());
    T* out = packed + g * size;
    if (algorithm == ConvAlgorithm::kDepthwise && adjoint)
      for (int64_t c = 0; c < s.out_channels; ++c) flipped.Pack(0, k, c, 1, 1, out + c * k);
    else if (algorithm == ConvAlgorithm::kDepthwise)
      std::copy(w + g * size, w + (g + 1) * size, out);
    else if (adjoint)
      PackGemmA<T>(s.out_channels, k, flipped, out);
    else
      PackGemmA(false, s.out_channels, k, w + g * size, k, out);
  }
  return buffer;
}

template <class T>
void RunConv(const ConvShape& s, ConvAlgorithm algorithm, const T* x, const T* w, const T* packed,
             const ConvEpilogue<T>& e, T* y) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (algorithm == ConvAlgorithm::kDirect) return DirectForward(s, x, packed, e, y);
    if (IsWinograd(algorithm)) return WinogradForward(s, TileOf(algorithm), x, packed, e, y);
    if (algorithm == ConvAlgorithm::kTransposed) return ForwardTransposed(s, x, packed, e, y);
  }
  if (algorithm == ConvAlgorithm::kDepthwise)
    DepthwiseForward<T>(s, x, packed ? packed : w, e, y);
  else
    ForwardGemm<T>(s, algorithm == ConvAlgorithm::kPointwise, x, w, packed, e, y);
}

template <class T>
void RunConvOnce(const ConvShape& s, ConvAlgorithm algorithm, bool adjoint, const T* x, const T* w,
                 const ConvEpilogue<T>& epilogue, T* y) {
  if constexpr (sizeof(T) == sizeof(float))
    if (IsWinograd(algorithm) && WinogradOnce(s, TileOf(algorithm)))
      return WinogradForwardOnce(s, TileOf(algorithm), adjoint, x, w, epilogue, y);
  const bool as_it_is =
      !adjoint && (algorithm == ConvAlgorithm::kPointwise || algorithm == ConvAlgorithm::kIm2Col ||
                   algorithm == ConvAlgorithm::kDepthwise);
  if (as_it_is) return RunConv<T>(s, algorithm, x, w, nullptr, epilogue, y);
  const auto buffer = PackConvWeights(s, algorithm, adjoint, w);
  RunConv<T>(s, algorithm, x, nullptr, reinterpret_cast<const T*>(buffer->data()), epilogue, y);
}

template <class T>
const T* PackedConvWeights<T>::Get(const ConvShape& shape, ConvAlgorithm algorithm) {
  if (algorithm == ConvAlgorithm::kPhases) {
    const std::string layout = PhasesLayout<T>(shape);
    std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<Buffer>& packed = phases_[layout];
    if (!packed) {
      packed = PackConvWeights(shape, algorithm, adjoint_, w_.data<T>());
      bytes_ += packed->bytes();
    }
    return reinterpret_cast<const T*>(packed->data());
  }
  const int i = static_cast<int>(algorithm);
  std::call_once(once_[i], [&] {
    packed_[i] = PackConvWeights(shape, algorithm, adjoint_, w_.data<T>());
    bytes_ += packed_[i]->bytes();
  });
  return reinterpret_cast<const T*>(packed_[i]->data());
}

template <class T>
void ConvForward(const ConvShape& s, ConvAlgorithm algorithm, const T* x, const T* w,
                 PackedConvWeights<T>* cache, const ConvEpilogue<T>& epilogue, T* y) {
  if (s.batch * s.group * s.out_channels * s.out_count() == 0) return;
  if (cache && algorithm != ConvAlgorithm::kDepthwise)
    RunConv<T>(s, algorithm, x, nullptr, cache->Get(s, algorithm), epilogue, y);
  else
    RunConvOnce(s, algorithm, false, x, w, epilogue, y);
}

template <class T>
void ConvWeightGradient(const ConvShape& s, ConvChoice choice, const T* x, const T* dy, T* dw) {
  const int64_t size = s.group * s.out_channels * s.in_channels * s.taps();
  if (size == 0 || s.batch * s.out_count() == 0) {
    std::fill(dw, dw + size, T(0));
    return;
  }
  const ConvAlgorithm algorithm =
      ChooseConv(s, ConvPass::kWeightGradient, DTypeOf<T>::kValue, choice);
  if (algorithm == ConvAlgorithm::kDepthwise) return DepthwiseWeightGradient(s, x, dy, dw);
  if constexpr (sizeof(T) == sizeof(float))
    if (IsWinograd(algorithm)) return WinogradWeightGradient(s, TileOf(algorithm), x, dy, dw);
  WeightGradientGemm(s, x, dy, dw);
}

#define TK_CONV(T)                                                                           \
  template class PackedConvWeights<T>;                                                       \
  template int64_t PackedConvSize<T>(const ConvShape&, ConvAlgorithm);                       \
  template std::shared_ptr<Buffer> PackConvWeights<T>(const ConvShape&, ConvAlgorithm, bool, \
                                                      const T*);                             \
  template void RunConv<T>(const ConvShape&, ConvAlgorithm, const T*, const T*, const T*,    \
                           const ConvEpilogue<T>&, T*);                                      \
  template void RunConvOnce<T>(const ConvShape&, ConvAlgorithm, bool, const T*, const T*,    \
                               const ConvEpilogue<T>&, T*);                                  \
  template void ConvForward<T>(const ConvShape&, ConvAlgorithm, const T*, const T*,          \
                               PackedConvWeights<T>*, const ConvEpilogue<T>&, T*);           \
  template void ConvWeightGradient<T>(const ConvShape&, ConvChoice, const T*, const T*, T*);
TK_CONV(float)
TK_CONV(double)
#undef TK_CONV

}  // namespace toolkit
