#include "kernels/axis_map.h"

namespace toolkit {

bool AxisMap::IsIdentity() const {
  if (in != out()) return false;
  for (int64_t o = 0; o < in; ++o) {
    bool found = false;
    for (int64_t t = start[o]; t < start[o + 1]; ++t) {
      if (weight[t] == 0) continue;
      if (found || index[t] != o || weight[t] != 1) return false;
      found = true;
    }
    if (!found) return false;
  }
  return true;
}

AxisMap AxisMap::Transposed() const {
  AxisMap t;
  t.in = out();
  t.start.assign(static_cast<size_t>(in) + 1, 0);
  for (size_t k = 0; k < index.size(); ++k) t.start[index[k] + 1] += weight[k] != 0;
  for (int64_t i = 0; i < in; ++i) t.start[i + 1] += t.start[i];
  t.index.resize(static_cast<size_t>(t.start[in]));
  t.weight.resize(t.index.size());
  std::vector<int64_t> next(t.start.begin(), t.start.end() - 1);
  for (int64_t o = 0; o < out(); ++o) {
    for (int64_t k = start[o]; k < start[o + 1]; ++k) {
      if (weight[k] == 0) continue;
      const int64_t place = next[index[k]]++;
      t.index[place] = static_cast<int32_t>(o);
      t.weight[place] = weight[k];
    }
  }
  return t;
}

template <class T>
AxisPass<T>::AxisPass(const AxisMap& map)
    : in_(map.in),
      out_(map.out()),
      identity_(map.IsIdentity()),
      start_(map.start),
      index_(map.index),
      weight_(map.weight.begin(), map.weight.end()) {
  for (int64_t o = 0; o < out_; ++o) {
    max_taps_ = std::max(max_taps_, taps(o));
    uniform_ &= taps(o) == taps(0);
    if (taps(o) == 0) continue;
    const auto [low, high] = std::minmax_element(index(o), index(o) + taps(o));
    reach_ = std::max<int64_t>(reach_, *high - *low + 1);
  }
  uniform_ &= out_ > 0 && taps(0) > 0;
  if (!uniform_) return;
  for (int64_t k = 0; k < max_taps_; ++k) {
    for (int64_t o = 0; o < out_; ++o) {
      uniform_index_.push_back(index(o)[k]);
      uniform_weight_.push_back(weight(o)[k]);
    }
  }
}

template <class T>
void AxisPass<T>::Row(const T* x, T* y) const {
  if (uniform_) {
    ImageRowsOf(T()).gather(out_, max_taps_, uniform_index_.data(), uniform_weight_.data(), out_, x,
                            y);
    return;
  }
  for (int64_t o = 0; o < out_; ++o) {
    T sum = T(0);
    for (int64_t t = start_[o]; t < start_[o + 1]; ++t) sum += weight_[t] * x[index_[t]];
    y[o] = sum;
  }
}

template <class T>
PlanePass<T>::PlanePass(const AxisPass<T>& rows, const AxisPass<T>& columns)
    : rows_(rows), columns_(columns), sources_(static_cast<size_t>(rows.max_taps())) {
  if (columns.identity()) return;
  held_.assign(static_cast<size_t>(rows.reach()), -1);
  ring_.resize(static_cast<size_t>(rows.reach() * columns.out()));
}

template <class T>
const T* PlanePass<T>::InputRow(const T* x, int64_t row) {
  const T* from = x + row * columns_.in();
  if (columns_.identity()) return from;
  const int64_t place = row % static_cast<int64_t>(held_.size());
  T* to = ring_.data() + place * columns_.out();
  if (held_[place] != row) {
    columns_.Row(from, to);
    held_[place] = row;
  }
  return to;
}

template <class T>
void PlanePass<T>::Run(const T* x, int64_t begin, int64_t end, T* y) {
  std::fill(held_.begin(), held_.end(), int64_t{-1});
  for (int64_t o = begin; o < end; ++o) {
    T* to = y + o * columns_.out();
    if (rows_.identity()) {
      const T* from = x + o * columns_.in();
      if (columns_.identity())
        std::copy(from, from + columns_.in(), to);
      else
        columns_.Row(from, to);
      continue;
    }
    for (int64_t t = 0; t < rows_.taps(o); ++t) sources_[t] = InputRow(x, rows_.index(o)[t]);
    ImageRowsOf(T()).blend(columns_.out(), rows_.taps(o), rows_.weight(o), sources_.data(), to);
  }
}

template <class T>
void RunPlanes(ThreadPool& pool, int64_t planes, const AxisPass<T>& rows,
               const AxisPass<T>& columns, const T* x, T* y) {
  const int64_t height = rows.out(), width = columns.out();
  if (planes * height * width == 0) return;
  // Blocks of rows large enough that the rows resampled twice at their borders are few.
  const int64_t shared = columns.identity() || rows.identity() ? 1 : 8 * rows.max_taps();
  const int64_t block = std::max<int64_t>(shared, 1 + 65536 / width);
  const int64_t blocks = (height + block - 1) / block;
  const int64_t work = std::min(block, height) * width * (rows.max_taps() + columns.max_taps());
  pool.ParallelFor(planes * blocks, 1 + 32768 / work, [&](int64_t begin, int64_t end) {
    PlanePass<T> pass(rows, columns);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t plane = i / blocks, first = i % blocks * block;
      pass.Run(x + plane * rows.in() * columns.in(), first, std::min(height, first + block),
               y + plane * height * width);
    }
  });
}

#define TK_INSTANTIATE(T)                                                                  \
  template class AxisPass<T>;                                                              \
  template class PlanePass<T>;                                                             \
  template void RunPlanes<T>(ThreadPool&, int64_t, const AxisPass<T>&, const AxisPass<T>&, \
                             const T*, T*);
TK_INSTANTIATE(float)
TK_INSTANTIATE(double)
#undef TK_INSTANTIATE

}  // namespace toolkit
