// Updates of optimizers whose states are like the parameter: x = {p, g, states...} gives
// y = {p', states'...}, which may be the memory of x.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// What a formula takes of one step; each takes some of them.
struct PointwiseStep {
  double beta1 = 0, beta2 = 0;  // Of the first and the second average.
  double epsilon = 0;
  double weight_decay = 0;   // Added to the gradient,
  double decay = 1;          // or the factor on the parameter.
  double step_size = 0;      // Of the direction,
  double grad_size = 0;      // of the gradient itself (NAdam).
  double scale = 1;          // Of the second average's root.
  double low = 0, high = 0;  // Bounds of the step size (Rprop).
  bool plain = false;        // RAdam: not rectified. ASGD: the average is the parameter.
};

template <class T>
using PointwiseFunction = void (*)(T* const* y, const T* const* x, int64_t n,
                                   const PointwiseStep& s);

template <class T>
struct PointwiseFunctions {
  PointwiseFunction<T> nadam, radam, adamax, adagrad, adadelta, rprop, asgd, lion;
  PointwiseFunction<T> rmsprop[4];  // + 1 with momentum, + 2 centered.
};
struct PointwiseTable {
  PointwiseFunctions<float> f32;
  PointwiseFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(PointwiseTable, pointwise_table, PointwiseUpdates)
