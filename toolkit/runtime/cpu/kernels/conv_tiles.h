// Square tiles of planes, as Winograd's transforms read and write them, and panels of rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "simd/conv.h"

namespace toolkit {

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// `m` rows cut into panels of nearly equal height, at most mr.
struct Panels {
  Panels(int64_t m, int64_t mr) : m(m), count(CeilDiv(m, mr)) {}
  int64_t begin(int64_t i) const { return m * i / count; }
  int64_t m, count;
};

// Planes of several images under a grid of tiles `step` apart, the first at (-top, -left).
struct TileGrid {
  int64_t images, rows, columns;  // Tiles.
  int64_t step, side, top, left;
  int64_t height, width, image_stride;

  int64_t count() const { return images * rows * columns; }
};

// Consecutive tiles of a grid laid out in scratch: a segment for each run of tiles of one row,
// `side` rows of `pitch`, zero where the plane has nothing. Every channel has the same layout.
class TileBlock {
 public:
  // Tiles [begin, begin + n); offsets up to a multiple of `lanes` lead to an unused tile.
  void Set(const TileGrid& g, int64_t begin, int64_t n, int64_t lanes) {
    n_ = n;
    rows_.clear();
    offsets_.clear();
    const int64_t longest = std::min(n, g.columns);
    pitch_ = RoundUp(g.step * longest + 4, 8);
    int64_t base = 0;
    for (int64_t t = begin; t < begin + n;) {
      const int64_t column = t % g.columns, row = t / g.columns % g.rows;
      const int64_t image = t / (g.columns * g.rows);
      const int64_t tiles = std::min(g.columns - column, begin + n - t);
      const int64_t x0 = column * g.step - g.left, y0 = row * g.step - g.top;
      const int64_t from = std::max<int64_t>(x0, 0);
      const int64_t to = std::min(x0 + (tiles - 1) * g.step + g.side, g.width);
      for (int64_t r = 0; r < g.side; ++r)
        if (y0 + r >= 0 && y0 + r < g.height && to > from)
          rows_.push_back({image * g.image_stride + (y0 + r) * g.width + from,
                           base + r * pitch_ + from - x0, to - from});
      for (int64_t i = 0; i < tiles; ++i)
        offsets_.push_back(static_cast<int32_t>(base + i * g.step));
      base += g.side * pitch_;
      t += tiles;
    }
    offsets_.resize(static_cast<size_t>(RoundUp(n, lanes)), static_cast<int32_t>(base));
    size_ = base + g.side * pitch_ + 8;
  }
  // The other way: from scratch into the plane.
  void Reverse() {
    for (RowCopy& r : rows_) std::swap(r.from, r.to);
  }

  int64_t tiles() const { return n_; }
  int64_t pitch() const { return pitch_; }
  int64_t size() const { return size_; }
  const int32_t* offsets(int64_t i) const { return offsets_.data() + i; }
  const RowCopy* rows() const { return rows_.data(); }
  int64_t row_count() const { return static_cast<int64_t>(rows_.size()); }

 private:
  int64_t n_ = 0, pitch_ = 0, size_ = 0;
  std::vector<RowCopy> rows_;
  std::vector<int32_t> offsets_;
};

}  // namespace toolkit
