// Convolution and its two adjoints over a resolved window.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/kernel.h"
#include "kernels/conv_epilogue.h"
#include "simd/window.h"

namespace toolkit {

// y (N, G * O, *out) = x (N, G * C, *in) convolved with w (G * O, C, *kernel), O and C per group.
struct ConvShape {
  Window window;
  int64_t batch, group, in_channels, out_channels;

  int64_t in_count() const;   // Elements of a channel of x.
  int64_t out_count() const;  // Elements of a channel of y.
  int64_t taps() const;
};

enum class ConvAlgorithm {
  kPointwise,
  kDepthwise,
  kIm2Col,
  kDirect,
  kWinograd2,
  kWinograd4,
  kWinograd6,
  kDisjoint,    // Of an input gradient: taps as far apart as the stride, none meets another.
  kTransposed,  // 1 x 1: positions are the rows of the product, channels its columns.
  kPhases,      // Of an input gradient with a stride: a convolution for each residue.
};
constexpr int kConvAlgorithms = 10;
// kForward: with packed weights; kForwardOnce: with weights of one call.
enum class ConvPass { kForward, kForwardOnce, kInputGradient, kWeightGradient };

// What a node's attribute "algorithm" asks for; sessions that measure and tests set it, files never
// have it. "plain" is what TOOLKIT_OPT=0 runs; one that cannot do a shape falls back to it. kModel:
// never measured, for a convolution inside another.
enum class ConvChoice {
  kAuto,
  kMeasured,
  kModel,
  kPlain,
  kDirect,
  kWinograd2,
  kWinograd4,
  kWinograd6,
  kTransposed
};
ConvChoice ParseConvChoice(const Attributes& attributes);

// Whether `positions` as columns of a product leave more than a tenth of their vectors empty.
bool WastesVectors(int64_t positions);

// The algorithm for a pass; an input gradient is asked for by its adjoint shape. conv_choice.cc
ConvAlgorithm ChooseConv(const ConvShape& shape, ConvPass pass, DType dtype, ConvChoice choice);
// The algorithm of an input gradient without an adjoint shape: kDisjoint, kPhases or kIm2Col.
ConvAlgorithm ChooseInputGradient(const ConvShape& shape, ConvChoice choice);
const char* ConvAlgorithmName(ConvAlgorithm algorithm);
std::string DescribeConvInputGradient(const ConvShape& shape, DType dtype, ConvChoice choice);

// Constant weights in the layouts of the algorithms that have run with them, each made once.
template <class T>
class PackedConvWeights {
 public:
  // `adjoint`: shapes are those of the adjoint of the convolution that has the weights.
  explicit PackedConvWeights(const Tensor& w, bool adjoint = false) : w_(w), adjoint_(adjoint) {}
  const T* Get(const ConvShape& shape, ConvAlgorithm algorithm);
  size_t bytes() const { return bytes_.load(); }  // Of all layouts.

 private:
  Tensor w_;  // Kept alive.
  bool adjoint_;
  std::once_flag once_[kConvAlgorithms];
  std::shared_ptr<Buffer> packed_[kConvAlgorithms];
  std::mutex mutex_;                                       // Guards what follows.
  std::map<std::string, std::shared_ptr<Buffer>> phases_;  // By layout.
  std::atomic<size_t> bytes_{0};
};

// `packed`: of the same weights when they are constant, or null.
template <class T>
void ConvForward(const ConvShape& shape, ConvAlgorithm algorithm, const T* x, const T* w,
                 PackedConvWeights<T>* packed, const ConvEpilogue<T>& epilogue, T* y);
// dx = adjoint of x -> y, plus `bias` (G * C) or null: ConvTranspose. `packed`: as above, adjoint.
template <class T>
void ConvInputGradient(const ConvShape& shape, ConvChoice choice, const T* dy, const T* w,
                       PackedConvWeights<T>* packed, const T* bias, T* dx);
template <class T>
void ConvWeightGradient(const ConvShape& shape, ConvChoice choice, const T* x, const T* dy, T* dw);

// The pieces of ConvForward. Weights for `algorithm`; `adjoint`: s is the adjoint of the
// convolution that has the weights w.
template <class T>
std::shared_ptr<Buffer> PackConvWeights(const ConvShape& s, ConvAlgorithm algorithm, bool adjoint,
                                        const T* w);
// Elements that it takes.
template <class T>
int64_t PackedConvSize(const ConvShape& s, ConvAlgorithm algorithm);
// `packed`: from PackConvWeights; `w` may stand in for it with the plain algorithms, else be null.
template <class T>
void RunConv(const ConvShape& s, ConvAlgorithm algorithm, const T* x, const T* w, const T* packed,
             const ConvEpilogue<T>& epilogue, T* y);

// kPhases; conv_input_phases.cc. `s`: the convolution whose input gradient it is.
bool PhasesApply(const ConvShape& s);
template <class T>
int64_t PackedPhasesSize(const ConvShape& s);
// What the packed weights depend on besides the weights: sizes of images choose each phase's
// algorithm, and with auto_pad its taps.
template <class T>
std::string PhasesLayout(const ConvShape& s);
template <class T>
void PackPhases(const ConvShape& s, const T* w, T* packed);
template <class T>
void InputGradientPhases(const ConvShape& s, const T* dy, const T* packed, const T* bias, T* dx);

// With weights of one call.
template <class T>
void RunConvOnce(const ConvShape& s, ConvAlgorithm algorithm, bool adjoint, const T* x, const T* w,
                 const ConvEpilogue<T>& epilogue, T* y);

}  // namespace toolkit
