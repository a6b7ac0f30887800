// Vector and matrix-vector loops of the matrix factorisations.
#pragma once

#include <stdint.h>

#include "core/isa.h"

namespace toolkit {

// Matrices are row-major, `ld` elements from row to row.
template <class T>
struct LinalgFns {
  T (*dot)(const T* x, const T* y, int64_t n);
  // y += a x.
  void (*axpy)(T a, const T* x, T* y, int64_t n);
  // (x, y) = (c x + s y, c y - s x).
  void (*rotate)(T* x, T* y, int64_t n, T c, T s);
  // y[i] = sum over j of a[i, j] x[j], for m rows of n.
  void (*gemv)(const T* a, int64_t ld, int64_t m, int64_t n, const T* x, T* y);
  // y[j] += sum over i of a[i, j] x[i].
  void (*gemv_t)(const T* a, int64_t ld, int64_t m, int64_t n, const T* x, T* y);
  // a[i, j] += x[i] y[j].
  void (*ger)(T* a, int64_t ld, int64_t m, int64_t n, const T* x, const T* y);
};

struct LinalgTable {
  LinalgFns<float> f32;
  LinalgFns<double> f64;
};

}  // namespace toolkit

TOOLKIT_DECLARE_TABLE(LinalgTable, linalg_table, LinalgLoops)
