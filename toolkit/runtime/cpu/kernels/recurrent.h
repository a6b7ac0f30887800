// What RNN, GRU, LSTM and their gradients share: attributes, operands, products with R.
//
// T here is the number of time steps, N batch, I input size, H hidden size, D directions, G gates.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/gemm.h"
#include "core/kernel.h"
#include "simd/gemm.h"
#include "simd/recurrent.h"

namespace toolkit {

enum class CellKind { kRnn, kGru, kLstm };

inline int64_t GatesOf(CellKind kind) {
  return kind == CellKind::kRnn ? 1 : kind == CellKind::kGru ? 3 : 4;
}

class RecurrentAttributes {
 public:
  RecurrentAttributes(const Attributes& attributes, CellKind kind);

  int64_t directions() const { return bidirectional_ ? 2 : 1; }
  bool Reverse(int64_t direction) const { return bidirectional_ ? direction == 1 : reverse_; }
  template <class T>
  CellSpec<T> Spec(int64_t direction) const;

  CellKind kind;
  bool batch_major;  // layout = 1.
  bool linear_before_reset;
  int64_t hidden_size;  // 0: not said.

 private:
  bool reverse_ = false, bidirectional_ = false, input_forget_, standard_ = true;
  double clip_;
  std::vector<GateActivation<double>> activations_;  // Of all directions.
};

// The operands of a call, checked, and where their elements lie.
template <class T>
struct RecurrentCall {
  RecurrentCall(const KernelContext& c, const RecurrentAttributes& attributes);

  const RecurrentAttributes& attributes;
  int64_t t, n, i, h, d, g;
  const T *x, *w, *r;
  const T *b, *h0, *c0, *p;  // Null where left out.
  const int32_t* lens;

  Shape YShape() const { return attributes.batch_major ? Shape{n, t, d, h} : Shape{t, d, n, h}; }
  Shape StateShape() const { return attributes.batch_major ? Shape{n, d, h} : Shape{d, n, h}; }
  // Row of X, and of matrices with a row for each step and sample.
  int64_t Row(int64_t step, int64_t sample) const {
    return attributes.batch_major ? sample * t + step : step * n + sample;
  }
  int64_t SampleRows() const { return attributes.batch_major ? t : 1; }  // Rows between samples.
  int64_t YAt(int64_t step, int64_t direction, int64_t sample) const {
    return (attributes.batch_major ? (sample * t + step) * d + direction
                                   : (step * d + direction) * n + sample) *
           h;
  }
  int64_t StateAt(int64_t direction, int64_t sample) const {
    return (attributes.batch_major ? sample * d + direction : direction * n + sample) * h;
  }
  // The k-th step of a direction in time.
  int64_t Time(int64_t direction, int64_t k) const {
    return attributes.Reverse(direction) ? t - 1 - k : k;
  }
  bool Inside(int64_t step, int64_t sample) const { return !lens || step < lens[sample]; }
  const T* Peephole(int64_t direction) const { return p ? p + direction * 3 * h : nullptr; }
  bool Linear() const {
    return attributes.kind == CellKind::kGru && attributes.linear_before_reset;
  }
};

template <class T>
const GemmKernels<T>& RecurrentGemm() {
  if constexpr (sizeof(T) == 4)
    return GemmSimd().f32;
  else
    return GemmSimd().f64;
}
template <class T>
const RecurrentFunctions<T>& RecurrentCells() {
  if constexpr (sizeof(T) == 4)
    return RecurrentSimd().f32;
  else
    return RecurrentSimd().f64;
}

// Distance between rows of a scratch matrix: not a multiple of a page, whose rows would fall into
// the same sets of L1.
inline int64_t PaddedRow(int64_t columns) { return (columns + 15) / 16 * 16 + 16; }

// Matrices of K rows and `columns` columns, each as panels of nr columns, ready for the
// micro-kernel: panel p of matrix m begins at (m panels + p) nr K.
template <class T>
class Panels {
 public:
  Panels(int64_t k, int64_t columns)
      : k_(k), columns_(columns), nr_(RecurrentGemm<T>().nr), count_((columns + nr_ - 1) / nr_) {}
  int64_t count() const { return count_; }
  int64_t columns_of(int64_t panel) const { return std::min(nr_, columns_ - panel * nr_); }
  int64_t width() const { return nr_; }
  int64_t size() const { return count_ * nr_ * k_; }  // Elements of one matrix.

  // From op(B)[k, j] = b[j * ld + k] (transposed) or b[k * ld + j].
  void Pack(bool transposed, const T* b, int64_t ld, T* out) const;
  // C[m, columns of panels [p0, p1)] = beta C + A B for rows [m0, m1) of N, cut as all of N is.
  void Multiply(int64_t rows, int64_t r0, int64_t r1, int64_t p0, int64_t p1, const T* a,
                int64_t lda, const T* packed, T beta, T* c, int64_t ldc) const;

 private:
  int64_t k_, columns_, nr_, count_;
};

// Row panels of the batch: which rows share a micro-kernel depends on N alone.
struct BatchPanels {
  BatchPanels(int64_t n, int64_t mr) : n(n), count(std::max<int64_t>((n + mr - 1) / mr, 1)) {}
  int64_t begin(int64_t i) const { return n * i / count; }
  int64_t n, count;
};

// Runs `steps` steps of `phases` phases in order: work(step, phase, d, r0, r1, p0, p1) does the
// row panels [r0, r1) and column panels [p0, p1) of a direction. Rows and directions are
// independent, so they run through without waiting where they occupy the threads; else the columns
// are split too and the threads meet after each phase.
template <class Work>
void RunSteps(ThreadPool& pool, int64_t steps, int phases, int64_t directions, int64_t row_panels,
              int64_t column_panels, int64_t work_per_step, Work work) {
  const int64_t tasks = directions * row_panels, threads = pool.num_threads();
  constexpr int64_t kSmallStep = 64 * 1024;  // Multiply-adds that do not pay for meeting.
  const bool even = tasks % threads == 0 || tasks >= 3 * threads;
  if (threads == 1 || even || work_per_step < kSmallStep || column_panels == 1) {
    pool.ParallelFor(tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t k = 0; k < steps; ++k)
          for (int phase = 0; phase < phases; ++phase)
            work(k, phase, i / row_panels, i % row_panels, i % row_panels + 1, 0, column_panels);
    });
    return;
  }
  const int64_t blocks = std::min(column_panels, (threads + directions - 1) / directions);
  for (int64_t k = 0; k < steps; ++k)
    for (int phase = 0; phase < phases; ++phase)
      pool.ParallelFor(directions * blocks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t block = i % blocks;
          work(k, phase, i / blocks, 0, row_panels, column_panels * block / blocks,
               column_panels * (block + 1) / blocks);
        }
      });
}

// Pre-activations of all steps as a tensor, rows as `call.Row` counts them.
template <class T>
Shape RecurrentGateShape(const RecurrentCall<T>& call) {
  return {call.t * call.n, PaddedRow(call.d * call.g * call.h)};
}

// Pre-activations of all steps but their part from h: X transposed(W) + bias, into `gates` with
// rows `ld` apart. The bias is Wb + Rb, without Rb of GRU's hidden gate when it is linear before
// reset. `packed_w`: from PackGemmB, or null.
template <class T>
void InputProducts(KernelContext& c, const RecurrentCall<T>& call, const T* packed_w, T* gates,
                   int64_t ld);

}  // namespace toolkit
