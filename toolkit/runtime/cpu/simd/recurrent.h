// Pointwise part of recurrent cells, one row of the batch at a time: everything between the matrix
// products of a step, forward and backward.
//
// `a` holds pre-activations, one gate after the other `stride` elements apart, in ONNX's order
// (LSTM: i o f c; GRU: z r h). Backward functions replace them by their cotangents.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

enum class Activation {
  kRelu,
  kTanh,
  kSigmoid,
  kAffine,
  kLeakyRelu,
  kThresholdedRelu,
  kScaledTanh,
  kHardSigmoid,
  kElu,
  kSoftsign,
  kSoftplus,
};

template <class T>
struct GateActivation {
  Activation kind;
  T alpha, beta;
};

template <class T>
struct CellSpec {
  GateActivation<T> f, g, h;  // As the operators' equations name them.
  T clip;                     // Of the activations' inputs; infinity without.
  bool input_forget;
  bool standard;  // The default activations, no clip: compiled apart.
};

template <class T>
struct RecurrentFunctions {
  // h = f(a); y, where given, takes h too.
  void (*rnn)(const CellSpec<T>& s, int64_t n, const T* a, T* h, T* y);
  void (*rnn_grad)(const CellSpec<T>& s, int64_t n, T* a, const T* dh);

  // `peephole` (null: none) is i o f; c may be c_prev.
  void (*lstm)(const CellSpec<T>& s, int64_t n, const T* a, int64_t stride, const T* peephole,
               const T* c_prev, T* c, T* h, T* y);
  // dc: the cotangent of c, then that of c_prev.
  void (*lstm_grad)(const CellSpec<T>& s, int64_t n, T* a, int64_t stride, const T* peephole,
                    const T* c_prev, const T* c, const T* dh, T* dc);

  // rh = f(a_r) h_prev, with a_r given.
  void (*gru_reset)(const CellSpec<T>& s, int64_t n, const T* a_r, const T* h_prev, T* rh);
  // With u (linear_before_reset) the hidden gate's input is a_h + f(a_r) u, else a_h.
  void (*gru)(const CellSpec<T>& s, int64_t n, const T* a, int64_t stride, const T* u,
              const T* h_prev, T* h, T* y);
  // dh: the cotangent of h, then its direct part in h_prev, dh z. With u also the cotangents of a_r
  // and u, else those wait for gru_grad_reset.
  void (*gru_grad)(const CellSpec<T>& s, int64_t n, T* a, int64_t stride, T* u, const T* h_prev,
                   T* dh);
  // dh += drh f(a_r).
  void (*gru_grad_reset)(const CellSpec<T>& s, int64_t n, T* a_r, const T* h_prev, const T* drh,
                         T* dh);
};
struct RecurrentTable {
  RecurrentFunctions<float> f32;
  RecurrentFunctions<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(RecurrentTable, recurrent_table, RecurrentSimd)
