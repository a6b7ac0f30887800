// What the attention kernels share: the shapes of a call, its masks, and blocks of products.
//
// Letters: B batch, H heads, L query rows, S keys (past ones first), D head size.
#pragma once

#include <algorithm>
#include <limits>

#include "core/kernel.h"
#include "simd/attention.h"
#include "simd/gemm.h"

namespace toolkit {

template <class T>
const AttentionFunctions<T>& AttentionOf() {
  if constexpr (sizeof(T) == 4)
    return AttentionSimd().f32;
  else
    return AttentionSimd().f64;
}
template <class T>
const GemmKernels<T>& GemmKernelsOf() {
  if constexpr (sizeof(T) == 4)
    return GemmSimd().f32;
  else
    return GemmSimd().f64;
}

struct AttentionAttributes {
  explicit AttentionAttributes(const Attributes& a);
  int64_t q_heads, kv_heads;  // 0: not given.
  double scale;               // NaN: not given.
  double softcap;
  bool causal;
  int64_t left, right;  // -1: unbounded.
  int64_t qk_mode;
  // Of toolkit.fused, as a softmax written out does it: a mask of one key is one for all of them; a
  // row without a key that counts is NaN; causality counts rows from the end of the keys.
  bool spread_mask, nan_rows, last_rows;
  // Of toolkit.fused: input 7 is the past's length, and past_key and past_value are caches with
  // room, which the new keys and values are written into.
  bool in_place;
};

// Where the rows of one head lie.
struct HeadStrides {
  int64_t batch = 0, head = 0, row = 0;
  int64_t at(int64_t b, int64_t h, int64_t i) const { return b * batch + h * head + i * row; }
};

// Keys [begin, end) that a row may attend.
struct KeyRange {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
};
inline KeyRange Intersect(KeyRange a, KeyRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}
inline KeyRange Union(KeyRange a, KeyRange b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

// Sizes and strides of a call, checked.
struct AttentionShape {
  // Inputs Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen, in this order.
  AttentionShape(const AttentionAttributes& a, const KernelContext& c);
  int64_t group() const { return q_heads / kv_heads; }  // Query heads that share keys.
  KeyRange Keys(int64_t b, int64_t i) const;
  HeadStrides Cache(int64_t size) const {  // (B, Hkv, room, size).
    return {kv_heads * room * size, room * size, size};
  }
  Shape Output() const;  // Of Y.
  Shape Scores() const { return {batch, q_heads, rows, keys}; }

  bool packed;    // Inputs are (B, L, H D).
  bool in_place;  // The past is a cache.
  int64_t batch, q_heads, kv_heads, rows, new_keys, past, keys, head, v_head;
  int64_t room;       // Keys that joined memory holds.
  int64_t mask_keys;  // Keys that the mask covers; those beyond take no part.
  bool mask_repeats;  // It holds one number for all keys of a row.
  HeadStrides q, k, v, y;
  double scale;

 private:
  bool causal_, last_rows_;
  int64_t left_, right_;
  const int64_t* nonpad_ = nullptr;
};

// attn_mask as the kernels read it: a bias to add or a byte for each key.
template <class T>
struct AttentionMask {
  AttentionMask(KernelContext& c, const AttentionShape& shape);
  const T* bias = nullptr;
  const uint8_t* keep = nullptr;
  int64_t at(int64_t b, int64_t h, int64_t i) const { return b * batch + h * head + i * row; }
  int64_t batch = 0, head = 0, row = 0;
};

// K or V with the past in front: (B, Hkv, room, size) in `out`, which may be the past.
void JoinPast(ThreadPool& pool, const AttentionShape& shape, const HeadStrides& strides,
              int64_t size, const Tensor* past, const Tensor& fresh, Tensor& out);

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

constexpr int64_t kKeyBlock = 256;

// Rows that are worked on together: a multiple of the micro-kernel's.
template <class T>
int64_t RowBlock() {
  const int64_t mr = GemmKernelsOf<T>().mr;
  return mr * std::max<int64_t>(1, 48 / mr);
}

// C (m x n) = A B + beta C on one thread. A's element (i, k) is a[i * lda + k], or
// a[i + k * lda] of its transpose; B comes as packed panels of nr columns and `panel_rows` rows, of
// which the first k are used.
template <class T>
void BlockGemm(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, bool trans_a,
               const T* panels, int64_t panel_rows, T* c, int64_t ldc, T beta) {
  const GemmKernels<T>& g = GemmKernelsOf<T>();
  const GemmStore<T> store = {T(1), beta, nullptr, nullptr};
  const int64_t tiles = CeilDiv(m, g.mr);
  for (int64_t j = 0; j < n; j += g.nr, panels += panel_rows * g.nr) {
    const int64_t width = std::min<int64_t>(g.nr, n - j);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t i = m * t / tiles, height = m * (t + 1) / tiles - i;
      g.ukernel[!trans_a][width <= g.lanes][height](k, trans_a ? a + i : a + i * lda, lda, panels,
                                                    g.nr, c + i * ldc + j, ldc, width, store);
    }
  }
}

// Panels of x (k x n): what BlockGemm takes for B.
template <class T>
void PackStraight(int64_t k, int64_t n, const T* x, int64_t ld, T* panels) {
  const GemmKernels<T>& g = GemmKernelsOf<T>();
  for (int64_t j = 0; j < n; j += g.nr)
    g.pack_straight(std::min<int64_t>(g.nr, n - j), k, x + j, ld, g.nr, panels + j * k);
}
// Panels of the transpose of x (n x k).
template <class T>
void PackTransposed(int64_t k, int64_t n, const T* x, int64_t ld, T* panels) {
  const GemmKernels<T>& g = GemmKernelsOf<T>();
  for (int64_t j = 0; j < n; j += g.nr)
    g.pack_transposed(std::min<int64_t>(g.nr, n - j), k, x + j * ld, ld, g.nr, panels + j * k);
}
template <class T>
int64_t PanelSize(int64_t k, int64_t n) {
  return k * RoundUp(n, GemmKernelsOf<T>().nr);
}

// Calls fn(task, worker) for each task; a worker's number is below the pool's threads.
template <class Fn>
void ForTasks(ThreadPool& pool, int64_t tasks, Fn fn) {
  pool.ParallelFor(tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) fn(t, ThreadPool::thread());
  });
}

}  // namespace toolkit
