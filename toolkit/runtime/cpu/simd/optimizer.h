// Optimizer updates over spans of parameters; outputs may be the inputs.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, first;  // first: the buffer takes the gradient as it is.
};
struct AdamStep {
  double beta1, beta2, epsilon;
  double weight_decay;     // Added to the gradient (Adam);
  double decay;            // or the factor on the parameter (AdamW), else 1.
  double step_size;        // lr / (1 - beta1^t).
  double sqrt_correction;  // sqrt(1 - beta2^t).
};

template <class T>
struct OptimizerFunctions {
  // buf and new_buf are null without momentum.
  void (*sgd)(T* new_p, T* new_buf, const T* p, const T* g, const T* buf, int64_t n,
              const SgdStep& s);
  // vmax and new_vmax are null without amsgrad.
  void (*adam)(T* new_p, T* new_m, T* new_v, T* new_vmax, const T* p, const T* g, const T* m,
               const T* v, const T* vmax, int64_t n, const AdamStep& s);
};
struct OptimizerTable {
  OptimizerFunctions<float> f32;
  OptimizerFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(OptimizerTable, optimizer_table, Optimizers)
