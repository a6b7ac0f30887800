// The input gradient of a convolution with a stride: elements of dx that are a stride apart see the
// same taps, so each such phase of dx is a convolution of dy with stride 1 by every stride-th tap.
// No product is wasted and no matrix of columns is written; the phases are then interleaved.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/conv_algorithms.h"
#include "kernels/conv_sources.h"
#include "kernels/conv_tiles.h"

namespace toolkit {
namespace {

constexpr int64_t kPhaseBytes = 512 * 1024;  // Of phases, in L2 until they are interleaved.

// Rows (or columns) first, first + stride, ... of dx. They see the taps `residue`, residue +
// stride, ..., `taps` of them.
struct PhaseAxis {
  PhaseAxis(const Window& w, int d, int64_t first) {
    const int64_t at = first + w.pad_begin[d];
    residue = at % w.stride[d];
    taps = residue < w.kernel[d] ? CeilDiv(w.kernel[d] - residue, w.stride[d]) : 0;
    pad = taps - 1 - at / w.stride[d];
  }
  int64_t residue, taps, pad;
};

struct Phase {
  ConvShape shape;  // dy -> the phase of dx.
  ConvAlgorithm algorithm = ConvAlgorithm::kIm2Col;
  int64_t residue[2] = {0, 0};
  int64_t weights = 0;  // Where its packed weights begin.
};

// All phases have the extents of the largest: what is beyond dx is dropped.
template <class T>
class Phases {
 public:
  explicit Phases(const ConvShape& s) : s_(s) {
    const Window& w = s.window;
    for (int64_t a = 0; a < w.stride[0]; ++a)
      for (int64_t b = 0; b < (w.rank > 1 ? w.stride[1] : 1); ++b) MakePhase({a, b});
    for (int d = 0; d < w.rank; ++d) count_ *= CeilDiv(w.in[d], w.stride[d]);
  }

  int64_t weights() const { return weights_; }

  std::string Layout() const {
    std::string layout;
    for (const Phase& p : phases_)
      for (int64_t v : {static_cast<int64_t>(p.algorithm), p.residue[0], p.residue[1]})
        layout += std::to_string(v) + ",";
    return layout;
  }

  void Pack(const T* w, T* packed) const {
    for (const Phase& phase : phases_) {
      if (phase.shape.taps() == 0) continue;
      const std::vector<T> taps = Taps(phase, w);
      const auto buffer = PackConvWeights(phase.shape, phase.algorithm, true, taps.data());
      std::memcpy(packed + phase.weights, buffer->data(),
                  static_cast<size_t>(PackedConvSize<T>(phase.shape, phase.algorithm)) * sizeof(T));
    }
  }

  void Run(const T* dy, const T* packed, const T* bias, T* dx) const {
    const int64_t channels = s_.group * s_.in_channels, out = s_.group * s_.out_channels;
    const int64_t image = static_cast<int64_t>(phases_.size()) * channels * count_;
    const int64_t images =
        std::clamp<int64_t>(kPhaseBytes / static_cast<int64_t>(sizeof(T)) / image, 1, s_.batch);
    ForEachImage(CeilDiv(s_.batch, images), [&](int64_t task) {
      const int64_t n0 = task * images, n = std::min(images, s_.batch - n0);
      const auto buffer = Buffer::Allocate(static_cast<size_t>(n * image) * sizeof(T));
      T* planes = reinterpret_cast<T*>(buffer->data());
      const int64_t step = n * channels * count_;  // From a phase to the next.
      for (size_t i = 0; i < phases_.size(); ++i) {
        T* to = planes + static_cast<int64_t>(i) * step;
        ConvShape shape = phases_[i].shape;
        shape.batch = n;
        if (shape.taps() == 0)
          std::fill(to, to + step, T(0));
        else
          RunConv<T>(shape, phases_[i].algorithm, dy + n0 * out * s_.out_count(), nullptr,
                     packed + phases_[i].weights, {}, to);
      }
      Interleave(planes, step, n * channels, bias, dx + n0 * channels * s_.in_count());
    });
  }

 private:
  void MakePhase(const std::vector<int64_t>& first) {
    const Window& w = s_.window;
    Phase phase;
    phase.shape = {w, s_.batch, s_.group, s_.out_channels, s_.in_channels};
    phase.weights = weights_;
    for (int d = 0; d < w.rank; ++d) {
      const PhaseAxis axis(w, d, first[d]);
      Window& to = phase.shape.window;
      phase.residue[d] = axis.residue;
      to.in[d] = w.out[d], to.out[d] = CeilDiv(w.in[d], w.stride[d]);
      to.kernel[d] = axis.taps, to.stride[d] = 1;
      to.pad_begin[d] = axis.pad;
      to.pad_end[d] = std::max<int64_t>(0, to.out[d] - 1 + axis.taps - axis.pad - to.in[d]);
    }
    if (phase.shape.taps() > 0) {
      phase.algorithm =
          ChooseConv(phase.shape, ConvPass::kInputGradient, DTypeOf<T>::kValue, ConvChoice::kModel);
      weights_ += RoundUp(PackedConvSize<T>(phase.shape, phase.algorithm), 16);
    }
    phases_.push_back(phase);
  }

  // The phase's taps of w, in their order.
  std::vector<T> Taps(const Phase& phase, const T* w) const {
    const Window& all = s_.window;
    const Window& own = phase.shape.window;
    const int last = all.rank - 1;
    const int64_t down = all.rank > 1 ? own.kernel[0] : 1, across = own.kernel[last];
    const int64_t row0 = all.rank > 1 ? phase.residue[0] : 0;
    const int64_t filters = s_.group * s_.out_channels * s_.in_channels, taps = s_.taps();
    const int64_t first = row0 * (all.rank > 1 ? all.kernel[last] : 0) + phase.residue[last];
    const int64_t down_step = all.stride[0] * (all.rank > 1 ? all.kernel[last] : 0);
    std::vector<T> out(static_cast<size_t>(filters * down * across));
    ThreadPool::Global().ParallelFor(filters, 1024, [&](int64_t begin, int64_t end) {
      T* to = out.data() + begin * down * across;
      for (int64_t f = begin; f < end; ++f)
        for (int64_t a = 0; a < down; ++a)
          for (int64_t b = 0; b < across; ++b)
            *to++ = w[f * taps + first + a * down_step + b * all.stride[last]];
    });
    return out;
  }

  void Interleave(const T* planes, int64_t step, int64_t count, const T* bias, T* dx) const {
    const Window& w = s_.window;
    const int last = w.rank - 1;
    const int64_t width = w.in[last], across = w.stride[last], columns = CeilDiv(width, across);
    const int64_t height = w.rank > 1 ? w.in[0] : 1, down = w.rank > 1 ? w.stride[0] : 1;
    const int64_t rows = CeilDiv(height, down), whole = width / across;
    for (int64_t c = 0; c < count; ++c) {
      const T add = bias ? bias[c % (s_.group * s_.in_channels)] : T(0);
      for (int64_t r = 0; r < height; ++r, dx += width) {
        const T* from = planes + r % down * across * step + (c * rows + r / down) * columns;
        RowsOf(T()).interleave(across, whole, from, step, add, dx);
        for (int64_t i = whole * across; i < width; ++i)
          dx[i] = from[i % across * step + i / across] + add;
      }
    }
  }

  const ConvShape& s_;
  std::vector<Phase> phases_;
  int64_t count_ = 1;  // Elements of a channel of a phase.
  int64_t weights_ = 0;
};

}  // namespace

// Phases that would begin inside dy, dilated taps and very many phases are left to the product.
bool PhasesApply(const ConvShape& s) {
  constexpr int64_t kMostPhases = 8;  // In a dimension.
  const Window& w = s.window;
  bool strided = false;
  for (int d = 0; d < w.rank; ++d) {
    if (w.dilation[d] != 1 || w.out[d] == 0 || w.stride[d] > kMostPhases) return false;
    strided |= w.stride[d] > 1;
    for (int64_t first = 0; first < w.stride[d]; ++first) {
      const PhaseAxis axis(w, d, first);
      if (axis.taps > 0 && axis.pad < 0) return false;
    }
  }
  return w.rank <= 2 && strided;
}

template <class T>
int64_t PackedPhasesSize(const ConvShape& s) {
  return Phases<T>(s).weights();
}

template <class T>
std::string PhasesLayout(const ConvShape& s) {
  return Phases<T>(s).Layout();
}

template <class T>
void PackPhases(const ConvShape& s, const T* w, T* packed) {
  Phases<T>(s).Pack(w, packed);
}

template <class T>
void InputGradientPhases(const ConvShape& s, const T* dy, const T* packed, const T* bias, T* dx) {
  Phases<T>(s).Run(dy, packed, bias, dx);
}

#define TK_CONV(T)                                             \
  template int64_t PackedPhasesSize<T>(const ConvShape&);      \
  template std::string PhasesLayout<T>(const ConvShape&);      \
  template void PackPhases<T>(const ConvShape&, const T*, T*); \
  template void InputGradientPhases<T>(const ConvShape&, const T*, const T*, const T*, T*);
TK_CONV(float)
TK_CONV(double)
#undef TK_CONV

}  // namespace toolkit
