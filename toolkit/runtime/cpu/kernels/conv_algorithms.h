// Convolution and its two adjoints over a resolved window; which algorithm runs is chosen here.
#pragma once

#include "core/kernel.h"
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

enum class ConvAlgorithm { kPointwise, kDepthwise, kIm2Col };
ConvAlgorithm ChooseConv(const ConvShape& shape);

// `bias` (G * O) or null; `packed_w`: from PackConvWeight, or null.
template <class T>
void ConvForward(const ConvShape& shape, const T* x, const T* w, const T* packed_w, const T* bias,
                 T* y);
// dx = adjoint of x -> y, plus `bias` (G * C) or null: ConvTranspose.
template <class T>
void ConvInputGradient(const ConvShape& shape, const T* dy, const T* w, const T* bias, T* dx);
template <class T>
void ConvWeightGradient(const ConvShape& shape, const T* x, const T* dy, T* dw);

// The weights of all groups in the layout that ConvForward reads fastest. `count` elements.
template <class T>
int64_t PackedConvWeightSize(int64_t group, int64_t out_channels, int64_t k);
template <class T>
void PackConvWeight(int64_t group, int64_t out_channels, int64_t k, const T* w, T* packed);

}  // namespace toolkit
