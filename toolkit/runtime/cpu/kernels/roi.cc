// RoiAlign, MaxRoiPool and their gradients in X.
//
// A region's average is separable: the weights of its rows and columns are two maps, applied to
// each channel. Maxima are searched sample by sample. Parallel over regions and channels; gradients
// over channels, as regions overlap.
#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/axis_map.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

int64_t ReadPooled(const char* name, int64_t value) {
  TK_REQUIRE(value >= 1 && value < (int64_t{1} << 24), ErrorKind::kInvalidArgument, name,
             " must be at least 1, got ", value);
  return value;
}

// A sample between two elements of an axis.
struct Between {
  int64_t low, high;
  double weight_low, weight_high;
};

// How one axis of a region is sampled: `grid` samples in each of `bins` bins.
struct RoiAxis {
  int64_t length, bins, grid;
  double begin, bin;

  // Fails beyond the image by more than an element: such samples read zero.
  bool At(int64_t p, int64_t g, Between* b) const {
    double x = begin + static_cast<double>(p) * bin +
               (static_cast<double>(g) + 0.5) * bin / static_cast<double>(grid);
    if (!(x >= -1 && x <= static_cast<double>(length))) return false;
    x = std::max(x, 0.0);
    b->low = std::min(static_cast<int64_t>(x), length - 1);
    b->high = std::min(b->low + 1, length - 1);
    b->weight_high = b->low < length - 1 ? x - static_cast<double>(b->low) : 0;
    b->weight_low = 1 - b->weight_high;
    return true;
  }

  // The means over the samples of each bin.
  AxisMap Map() const {
    AxisMap map;
    map.in = length;
    std::vector<double> row(static_cast<size_t>(length));
    for (int64_t p = 0; p < bins; ++p) {
      int64_t first = length, last = -1;
      for (int64_t g = 0; g < grid; ++g) {
        Between b;
        if (!At(p, g, &b)) continue;
        row[b.low] += b.weight_low / static_cast<double>(grid);
        row[b.high] += b.weight_high / static_cast<double>(grid);
        first = std::min(first, b.low);
        last = std::max(last, b.high);
      }
      for (int64_t i = first; i <= last; ++i) {
        if (row[i] != 0) map.Add(i, row[i]);
        row[i] = 0;
      }
      map.EndRow();
    }
    return map;
  }
};

struct Region {
  int64_t image;
  RoiAxis y, x;
};

struct RoiAlignAttributes {
  explicit RoiAlignAttributes(const Attributes& a)
      : height(ReadPooled("output_height", a.Int("output_height", 1))),
        width(ReadPooled("output_width", a.Int("output_width", 1))),
        ratio(a.Int("sampling_ratio", 0)),
        scale(a.Float("spatial_scale", 1)) {
    const std::string mode = a.String("mode", "avg");
    TK_REQUIRE(mode == "avg" || mode == "max", ErrorKind::kInvalidArgument,
               "mode must be avg or max, got '", mode, "'");
    maximum = mode == "max";
    const std::string place = a.String("coordinate_transformation_mode", "half_pixel");
    TK_REQUIRE(place == "half_pixel" || place == "output_half_pixel", ErrorKind::kInvalidArgument,
               "coordinate_transformation_mode must be half_pixel or output_half_pixel, got '",
               place, "'");
    half_pixel = place == "half_pixel";
    TK_REQUIRE(ratio >= 0 && ratio < (int64_t{1} << 24), ErrorKind::kInvalidArgument,
               "sampling_ratio must not be negative or huge, got ", ratio);
  }

  std::vector<Region> Resolve(const Shape& x, const Tensor& rois, const Tensor& images) const {
    TK_REQUIRE(x.rank() == 4, ErrorKind::kShape, "X must be (N, C, H, W), got ", x.ToString());
    TK_REQUIRE(rois.rank() == 2 && rois.dim(1) == 4, ErrorKind::kShape,
               "rois must be (regions, 4), got ", rois.shape().ToString());
    TK_REQUIRE(images.rank() == 1 && images.dim(0) == rois.dim(0), ErrorKind::kShape,
               "batch_indices must have an index for each of the ", rois.dim(0), " regions, got ",
               images.shape().ToString());
    TK_REQUIRE(std::max(x[2], x[3]) < (int64_t{1} << 31), ErrorKind::kUnsupported,
               "H and W must be below 2^31, got ", x.ToString());
    const std::vector<int64_t> index = ReadInts(images, "batch_indices");
    std::vector<Region> regions;
    DispatchFloats(rois.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < rois.dim(0); ++i) {
        const T* r = rois.data<T>() + i * 4;
        TK_REQUIRE(index[i] >= 0 && index[i] < x[0], ErrorKind::kIndex,
                   "batch_indices must lie in [0, ", x[0], "), got ", index[i]);
        regions.push_back(
            {index[i], Axis(r[1], r[3], x[2], height), Axis(r[0], r[2], x[3], width)});
      }
    });
    return regions;
  }

  int64_t height, width, ratio;
  double scale;
  bool maximum, half_pixel;

 private:
  RoiAxis Axis(double begin, double end, int64_t length, int64_t bins) const {
    const double shift = half_pixel ? 0.5 : 0;
    RoiAxis axis;
    axis.length = length;
    axis.bins = bins;
    axis.begin = begin * scale - shift;
    double size = end * scale - shift - axis.begin;
    if (!half_pixel) size = std::max(size, 1.0);
    axis.bin = size / static_cast<double>(bins);
    const double grid = ratio > 0 ? static_cast<double>(ratio) : std::ceil(axis.bin);
    const double limit = maximum ? 1 << 14 : 1 << 24;
    TK_REQUIRE(!(grid * static_cast<double>(bins) > limit), ErrorKind::kInvalidArgument,
               "a region must not need more than ", limit, " samples along an axis, got one from ",
               begin, " to ", end);
    axis.grid = grid > 0 ? static_cast<int64_t>(grid) : 0;
    return axis;
  }
};

// Calls fn(sample's largest weighted element, its offset, its weight) for each sample of a bin.
template <class T, class Fn>
void ForEachSample(const Region& r, int64_t p, int64_t q, const T* x, Fn&& fn) {
  for (int64_t i = 0; i < r.y.grid; ++i) {
    for (int64_t j = 0; j < r.x.grid; ++j) {
      Between v, h;
      if (!r.y.At(p, i, &v) || !r.x.At(q, j, &h)) {
        fn(T(0), int64_t{-1}, T(0));
        continue;
      }
      const int64_t at[4] = {v.low * r.x.length + h.low, v.low * r.x.length + h.high,
                             v.high * r.x.length + h.low, v.high * r.x.length + h.high};
      const T weight[4] = {static_cast<T>(v.weight_low * h.weight_low),
                           static_cast<T>(v.weight_low * h.weight_high),
                           static_cast<T>(v.weight_high * h.weight_low),
                           static_cast<T>(v.weight_high * h.weight_high)};
      int best = 0;
      for (int k = 1; k < 4; ++k)
        if (weight[k] * x[at[k]] > weight[best] * x[at[best]]) best = k;
      fn(weight[best] * x[at[best]], at[best], weight[best]);
    }
  }
}

// The first largest sample of a bin.
template <class T>
struct Largest {
  Largest(const Region& r, int64_t p, int64_t q, const T* x) {
    bool any = false;
    ForEachSample(r, p, q, x, [&](T v, int64_t from, T w) {
      if (any && !(v > value)) return;
      any = true;
      value = v;
      at = from;
      weight = w;
    });
  }
  T value = T(0), weight = T(0);
  int64_t at = -1;
};

class RoiAlign : public Kernel {
 public:
  explicit RoiAlign(const Attributes& attributes) : a_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const std::vector<Region> regions = a_.Resolve(x.shape(), c.input(1), c.input(2));
    const int64_t count = static_cast<int64_t>(regions.size()), channels = x.dim(1);
    Tensor& y = c.Output(0, x.dtype(), {count, channels, a_.height, a_.width});
    if (y.size() == 0) return;
    if (x.dim(2) * x.dim(3) == 0) return FillZero(c.pool(), y);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) Pool<T>(regions[i], i, x, y);
      });
    });
  }

 private:
  template <class T>
  void Pool(const Region& r, int64_t i, const Tensor& x, const Tensor& y) const {
    const int64_t channels = x.dim(1), plane = x.dim(2) * x.dim(3), bins = a_.height * a_.width;
    const T* from = x.data<T>() + r.image * channels * plane;
    T* to = y.data<T>() + i * channels * bins;
    if (a_.maximum) {
      for (int64_t ch = 0; ch < channels; ++ch, from += plane)
        for (int64_t p = 0; p < a_.height; ++p)
          for (int64_t q = 0; q < a_.width; ++q) *to++ = Largest<T>(r, p, q, from).value;
      return;
    }
    const AxisPass<T> rows(r.y.Map()), columns(r.x.Map());
    Separable<T>(rows, columns, channels, from, plane, to, bins);
  }

  // Rows are few and their taps neighbours: mixed first, then each is shrunk.
  template <class T>
  static void Separable(const AxisPass<T>& rows, const AxisPass<T>& columns, int64_t channels,
                        const T* from, int64_t plane, T* to, int64_t bins) {
    int64_t first = columns.in(), last = -1;  // The columns that count.
    for (int64_t q = 0; q < columns.out(); ++q) {
      for (int64_t t = 0; t < columns.taps(q); ++t) {
        first = std::min<int64_t>(first, columns.index(q)[t]);
        last = std::max<int64_t>(last, columns.index(q)[t]);
      }
    }
    const int64_t width = std::max<int64_t>(0, last + 1 - first);
    std::vector<T> mixed(static_cast<size_t>(std::max<int64_t>(1, width)));
    std::vector<const T*> sources(static_cast<size_t>(rows.max_taps()));
    for (int64_t ch = 0; ch < channels; ++ch, from += plane, to += bins) {
      for (int64_t p = 0; p < rows.out(); ++p) {
        for (int64_t t = 0; t < rows.taps(p); ++t)
          sources[t] = from + rows.index(p)[t] * columns.in() + first;
        if (width > 0)
          ImageRowsOf(T()).blend(width, rows.taps(p), rows.weight(p), sources.data(), mixed.data());
        for (int64_t q = 0; q < columns.out(); ++q) {
          T sum = T(0);
          for (int64_t t = 0; t < columns.taps(q); ++t)
            sum += columns.weight(q)[t] * mixed[columns.index(q)[t] - first];
          to[p * columns.out() + q] = sum;
        }
      }
    }
  }

  RoiAlignAttributes a_;
};

// (dy, rois, batch_indices, x_shape, x) -> dx; x only for mode max.
class RoiAlignGrad : public Kernel {
 public:
  explicit RoiAlignGrad(const Attributes& attributes) : a_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor& dy = c.input(0);
    const std::vector<int64_t> dims = ReadInts(c.input(3), "x_shape");
    const Shape shape(dims.data(), dims.size());
    CheckedBytes(dy.dtype(), shape);
    const std::vector<Region> regions = a_.Resolve(shape, c.input(1), c.input(2));
    const int64_t count = static_cast<int64_t>(regions.size());
    const Shape want = {count, shape[1], a_.height, a_.width};
    TK_REQUIRE(dy.shape() == want, ErrorKind::kShape, "dy must have the output's shape ",
               want.ToString(), ", got ", dy.shape().ToString());
    const Tensor* x = a_.maximum ? &c.input(4) : nullptr;
    TK_REQUIRE(!x || (x->shape() == shape && x->dtype() == dy.dtype()), ErrorKind::kShape,
               "x must have the shape and type of dx, got ", x->shape().ToString());
    Tensor& dx = c.Output(0, dy.dtype(), shape);
    FillZero(c.pool(), dx);
    if (dx.size() == 0 || dy.size() == 0) return;
    DispatchFloats(dy.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      std::vector<AxisPass<T>> rows, columns;
      for (const Region& r : regions) {
        if (a_.maximum) break;
        rows.emplace_back(r.y.Map());
        columns.emplace_back(r.x.Map());
      }
      const int64_t plane = shape[2] * shape[3], bins = a_.height * a_.width;
      c.pool().ParallelFor(shape[1], 1, [&](int64_t begin, int64_t end) {
        for (int64_t ch = begin; ch < end; ++ch) {
          for (int64_t i = 0; i < count; ++i) {
            const int64_t at = (regions[i].image * shape[1] + ch) * plane;
            const T* from = dy.data<T>() + (i * shape[1] + ch) * bins;
            if (a_.maximum)
              AddMaxima(regions[i], from, x->data<T>() + at, dx.data<T>() + at);
            else
              AddMeans(rows[i], columns[i], from, dx.data<T>() + at);
          }
        }
      });
    });
  }

 private:
  template <class T>
  void AddMaxima(const Region& r, const T* dy, const T* x, T* dx) const {
    for (int64_t p = 0; p < a_.height; ++p) {
      for (int64_t q = 0; q < a_.width; ++q, ++dy) {
        const Largest<T> best(r, p, q, x);
        if (best.at >= 0) dx[best.at] += best.weight * *dy;
      }
    }
  }

  template <class T>
  static void AddMeans(const AxisPass<T>& rows, const AxisPass<T>& columns, const T* dy, T* dx) {
    for (int64_t p = 0; p < rows.out(); ++p) {
      for (int64_t t = 0; t < rows.taps(p); ++t) {
        T* to = dx + rows.index(p)[t] * columns.in();
        for (int64_t q = 0; q < columns.out(); ++q) {
          const T share = rows.weight(p)[t] * dy[p * columns.out() + q];
          for (int64_t u = 0; u < columns.taps(q); ++u)
            to[columns.index(q)[u]] += columns.weight(q)[u] * share;
        }
      }
    }
  }

  RoiAlignAttributes a_;
};

// Bins of whole elements: rounded corners, both included.
struct RoiPool {
  explicit RoiPool(const Attributes& a) : scale(a.Float("spatial_scale", 1)) {
    const std::vector<int64_t> pooled = a.Ints("pooled_shape");
    TK_REQUIRE(pooled.size() == 2, ErrorKind::kInvalidArgument,
               "attribute pooled_shape must have 2 values, got ", pooled.size());
    height = ReadPooled("pooled_shape", pooled[0]);
    width = ReadPooled("pooled_shape", pooled[1]);
  }

  static void Check(const Shape& x, const Tensor& rois) {
    TK_REQUIRE(x.rank() == 4, ErrorKind::kShape, "X must be (N, C, H, W), got ", x.ToString());
    TK_REQUIRE(rois.rank() == 2 && rois.dim(1) == 5, ErrorKind::kShape,
               "rois must be (regions, 5), got ", rois.shape().ToString());
  }

  struct Range {
    int64_t begin, end;
  };

  // The elements of bin p along an axis of the region from `begin` to `end`.
  Range Bin(double begin, double end, int64_t bins, int64_t p, int64_t length) const {
    const double first = std::round(begin * scale), size = std::round(end * scale) - first + 1;
    const double bin = std::max(size, 1.0) / static_cast<double>(bins);
    const double low = std::floor(static_cast<double>(p) * bin) + first;
    const double high = std::ceil(static_cast<double>(p + 1) * bin) + first;
    const double bound = static_cast<double>(length);  // NaN becomes an empty bin.
    return {static_cast<int64_t>(std::min(std::max(0.0, low), bound)),
            static_cast<int64_t>(std::min(std::max(0.0, high), bound))};
  }

  // Calls fn(region, image, bin, offset of the first largest element or -1) for a channel.
  template <class T, class Fn>
  void ForEachBin(const Shape& shape, const T* rois, int64_t i, const T* x, int64_t channel,
                  Fn&& fn) const {
    const T* r = rois + i * 5;
    const double image = static_cast<double>(r[0]);
    TK_REQUIRE(image >= 0 && image < static_cast<double>(shape[0]), ErrorKind::kIndex,
               "the image of a region must lie in [0, ", shape[0], "), got ", image);
    const int64_t plane = (static_cast<int64_t>(image) * shape[1] + channel) * shape[2] * shape[3];
    for (int64_t p = 0; p < height; ++p) {
      const Range v = Bin(r[2], r[4], height, p, shape[2]);
      for (int64_t q = 0; q < width; ++q) {
        const Range h = Bin(r[1], r[3], width, q, shape[3]);
        int64_t best = -1;
        for (int64_t y = v.begin; y < v.end; ++y) {
          for (int64_t z = h.begin; z < h.end; ++z) {
            const int64_t at = plane + y * shape[3] + z;
            if (best < 0 || x[at] > x[best] || (x[at] != x[at] && x[best] == x[best])) best = at;
          }
        }
        fn(p * width + q, best);
      }
    }
  }

  double scale;
  int64_t height, width;
};

class MaxRoiPool : public Kernel {
 public:
  explicit MaxRoiPool(const Attributes& attributes) : pool_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &rois = c.input(1);
    RoiPool::Check(x.shape(), rois);
    TK_REQUIRE(rois.dtype() == x.dtype(), ErrorKind::kDType, "rois must have X's type ",
               Name(x.dtype()), ", got ", Name(rois.dtype()));
    const int64_t channels = x.dim(1), bins = pool_.height * pool_.width;
    Tensor& y = c.Output(0, x.dtype(), {rois.dim(0), channels, pool_.height, pool_.width});
    if (y.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* from = x.data<T>();
      c.pool().ParallelFor(rois.dim(0) * channels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          pool_.ForEachBin(x.shape(), rois.data<T>(), i / channels, from, i % channels,
                           [&](int64_t bin, int64_t best) {
                             y.data<T>()[i * bins + bin] = best < 0 ? T(0) : from[best];
                           });
      });
    });
  }

 private:
  RoiPool pool_;
};

// (x, rois, dy) -> dx.
class MaxRoiPoolGrad : public Kernel {
 public:
  explicit MaxRoiPoolGrad(const Attributes& attributes) : pool_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &rois = c.input(1), &dy = c.input(2);
    RoiPool::Check(x.shape(), rois);
    const int64_t channels = x.dim(1), bins = pool_.height * pool_.width;
    const Shape want = {rois.dim(0), channels, pool_.height, pool_.width};
    TK_REQUIRE(dy.shape() == want && dy.dtype() == x.dtype() && rois.dtype() == x.dtype(),
               ErrorKind::kShape, "dy must have the output's shape ", want.ToString(),
               " and all inputs one type, got ", dy.shape().ToString());
    Tensor& dx = c.Output(0, x.dtype(), x.shape());
    FillZero(c.pool(), dx);
    if (dy.size() == 0) return;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      c.pool().ParallelFor(channels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t ch = begin; ch < end; ++ch)
          for (int64_t i = 0; i < rois.dim(0); ++i)
            pool_.ForEachBin(
                x.shape(), rois.data<T>(), i, x.data<T>(), ch, [&](int64_t bin, int64_t best) {
                  if (best >= 0)
                    dx.data<T>()[best] += dy.data<T>()[(i * channels + ch) * bins + bin];
                });
      });
    });
  }

 private:
  RoiPool pool_;
};

static const bool kRoiAlign = Register<RoiAlign>("RoiAlign").Types(kFloats).Widen();
static const bool kRoiAlignGrad =
    Register<RoiAlignGrad>("RoiAlignGrad").Types(kFloats).Widen().Domain("toolkit.grad");
static const bool kMaxRoiPool = Register<MaxRoiPool>("MaxRoiPool").Types(kFloats).Widen();
static const bool kMaxRoiPoolGrad =
    Register<MaxRoiPoolGrad>("MaxRoiPoolGrad").Types(kFloats).Widen().Domain("toolkit.grad");

}  // namespace
}  // namespace toolkit
