// GridSample, its gradient, and AffineGrid.
//
// The taps of a block of points are computed once and serve all channels, along whose planes they
// gather. Forward: parallel over images and blocks of points. Gradient: dx over images and groups
// of channels, as points share elements; dgrid over images and blocks of points.
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/movement.h"
#include "kernels/sample_taps.h"

namespace toolkit {
namespace {

constexpr DTypeSet kSampleTypes =
    kNumbers | kBools | Bit(DType::kComplex64) | Bit(DType::kComplex128);
constexpr int64_t kChannelGroup = 8;

SampleMode ParseMode(const std::string& text) {
  if (text == "linear" || text == "bilinear") return SampleMode::kLinear;
  if (text == "nearest") return SampleMode::kNearest;
  if (text == "cubic" || text == "bicubic") return SampleMode::kCubic;
  Fail(ErrorKind::kInvalidArgument, "mode must be linear, nearest or cubic, got '", text, "'");
}

SamplePadding ParsePadding(const std::string& text) {
  if (text == "zeros") return SamplePadding::kZeros;
  if (text == "border") return SamplePadding::kBorder;
  if (text == "reflection") return SamplePadding::kReflection;
  Fail(ErrorKind::kInvalidArgument, "padding_mode must be zeros, border or reflection, got '", text,
       "'");
}

// The sizes of a call, and its axes from the outermost in.
struct Sampling {
  int64_t images, channels, plane = 1, points = 1;
  int rank;
  Shape out;
  const int64_t* shape;
  std::vector<SampleAxis> axes;

  // The coordinates of point p of image n: the grid has the innermost axis first.
  template <class G>
  void Point(const G* grid, int64_t n, int64_t p, double* x) const {
    const G* g = grid + (n * points + p) * rank;
    for (int d = 0; d < rank; ++d) x[d] = axes[d].Denormalize(static_cast<double>(g[rank - 1 - d]));
  }
};

struct SampleAttributes {
  explicit SampleAttributes(const Attributes& a)
      : mode(ParseMode(a.String("mode", "linear"))),
        padding(ParsePadding(a.String("padding_mode", "zeros"))),
        align_corners(a.Int("align_corners", 0) != 0) {}

  Sampling Resolve(const Tensor& x, const Tensor& grid) const {
    const int rank = x.rank() - 2;
    TK_REQUIRE(rank >= 1, ErrorKind::kShape,
               "X must have a batch, a channel and at least one spatial dimension, got ",
               x.shape().ToString());
    TK_REQUIRE(rank <= 6, ErrorKind::kUnsupported, "X must have at most 6 spatial dimensions, got ",
               rank);
    TK_REQUIRE(grid.rank() == x.rank() && grid.dim(rank + 1) == rank && grid.dim(0) == x.dim(0),
               ErrorKind::kShape, "grid must be (N, sizes..., ", rank, ") for X ",
               x.shape().ToString(), ", got ", grid.shape().ToString());
    Sampling s;
    s.rank = rank;
    s.images = x.dim(0);
    s.channels = x.dim(1);
    s.plane = x.shape().Count(2, x.rank());
    s.points = grid.shape().Count(1, rank + 1);
    s.shape = x.shape().begin() + 2;
    s.out = {x.dim(0), x.dim(1)};
    for (int d = 0; d < rank; ++d) {
      s.out.push_back(grid.dim(d + 1));
      s.axes.emplace_back(x.dim(d + 2), mode, padding, align_corners);
    }
    CheckedBytes(x.dtype(), s.out);
    if (s.out.Count() == 0) return s;
    TK_REQUIRE(s.plane > 0 && s.plane < (int64_t{1} << 31), ErrorKind::kUnsupported,
               "X must have between 1 and 2^31 - 1 elements a plane, got ", s.plane);
    return s;
  }

  SampleMode mode;
  SamplePadding padding;
  bool align_corners;
};

// Fills `block` with the taps of points [begin, begin + n) of an image.
template <class T, class G>
void FillBlock(const Sampling& s, const G* grid, int64_t image, int64_t begin, int64_t n,
               TapBlock<T>* block) {
  double x[kMaxRank];
  for (int64_t i = 0; i < n; ++i) {
    s.Point(grid, image, begin + i, x);
    block->Set(i, x);
  }
}

template <class T>
void SampleChannel(const TapBlock<T>& taps, int64_t n, const T* x, T* y) {
  ImageRowsOf(T()).gather(n, taps.taps(), taps.at(), taps.weight(), kSampleBlock, x, y);
}

// Integers are interpolated in float64, then saturated and rounded, halves to even.
template <class T>
void SampleConverted(const TapBlock<double>& taps, int64_t n, const T* x, T* y) {
  constexpr double kLow = static_cast<double>(std::numeric_limits<T>::lowest());
  constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < taps.taps(); ++k) {
      const int32_t at = taps.at()[k * kSampleBlock + i];
      if (at >= 0) sum += taps.weight()[k * kSampleBlock + i] * static_cast<double>(x[at]);
    }
    y[i] = sum >= kHigh ? std::numeric_limits<T>::max()
           : sum > kLow ? static_cast<T>(std::nearbyint(sum))
                        : std::numeric_limits<T>::lowest();
  }
}

// Mode nearest for any type.
template <class T>
void PickChannel(const TapBlock<float>& taps, int64_t n, const T* x, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = taps.at()[i] < 0 ? T{} : x[taps.at()[i]];
}

// Calls per_channel(taps, points, x plane, y plane) for all blocks. W: the type of weights.
template <class W, class T, class Fn>
void ForEachBlock(KernelContext& c, const Sampling& s, const Tensor& grid, const T* x, T* y,
                  Fn&& per_channel) {
  const int64_t blocks = (s.points + kSampleBlock - 1) / kSampleBlock;
  DispatchFloats(grid.dtype(), [&](auto tag) {
    using G = typename decltype(tag)::type;
    c.pool().ParallelFor(s.images * blocks, 1, [&](int64_t begin, int64_t end) {
      TapBlock<W> taps(s.axes, s.shape, false);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / blocks, first = i % blocks * kSampleBlock;
        const int64_t n = std::min(kSampleBlock, s.points - first);
        FillBlock(s, grid.data<G>(), image, first, n, &taps);
        for (int64_t ch = image * s.channels; ch < (image + 1) * s.channels; ++ch)
          per_channel(taps, n, x + ch * s.plane, y + ch * s.points + first);
      }
    });
  });
}

class GridSample : public Kernel {
 public:
  explicit GridSample(const Attributes& attributes) : attributes_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &grid = c.input(1);
    const Sampling s = attributes_.Resolve(x, grid);
    Tensor& y = c.Output(0, x.dtype(), s.out);
    if (y.size() == 0) return;
    if (attributes_.mode == SampleMode::kNearest) {
      DispatchBySize(x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        ForEachBlock<float>(c, s, grid, x.data<T>(), y.data<T>(), PickChannel<T>);
      });
      return;
    }
    TK_REQUIRE(Contains(kNumbers, x.dtype()), ErrorKind::kDType,
               "mode linear or cubic requires numbers, got ", Name(x.dtype()));
    DispatchNumbers(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (std::is_floating_point_v<T>)
        ForEachBlock<T>(c, s, grid, x.data<T>(), y.data<T>(), SampleChannel<T>);
      else
        ForEachBlock<double>(c, s, grid, x.data<T>(), y.data<T>(), SampleConverted<T>);
    });
  }

 private:
  SampleAttributes attributes_;
};

// (x, grid, dy) -> dx, dgrid; each if asked for.
class GridSampleGrad : public Kernel {
 public:
  explicit GridSampleGrad(const Attributes& attributes) : attributes_(attributes) {}

  void Run(KernelContext& c) const override {
    const Tensor &x = c.input(0), &grid = c.input(1), &dy = c.input(2);
    const Sampling s = attributes_.Resolve(x, grid);
    TK_REQUIRE(dy.shape() == s.out && dy.dtype() == x.dtype(), ErrorKind::kShape,
               "dy must have the output's shape ", s.out.ToString(), " and X's type, got ",
               dy.shape().ToString(), " of ", Name(dy.dtype()));
    DispatchFloats(grid.dtype(), [&](auto) {});
    Tensor* dx = c.has_output(0) ? &c.Output(0, x.dtype(), x.shape()) : nullptr;
    Tensor* dgrid = c.has_output(1) ? &c.Output(1, grid.dtype(), grid.shape()) : nullptr;
    if (dx) FillZero(c.pool(), *dx);
    if (dy.size() == 0) {
      if (dgrid) FillZero(c.pool(), *dgrid);
      return;
    }
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      DispatchFloats(grid.dtype(), [&](auto grid_tag) {
        using G = typename decltype(grid_tag)::type;
        if (dx) InX(c, s, grid.data<G>(), dy.data<T>(), dx->data<T>());
        if (dgrid) InGrid(c, s, grid.data<G>(), x.data<T>(), dy.data<T>(), dgrid->data<G>());
      });
    });
  }

 private:
  template <class T, class G>
  static void InX(KernelContext& c, const Sampling& s, const G* grid, const T* dy, T* dx) {
    const int64_t groups = (s.channels + kChannelGroup - 1) / kChannelGroup;
    c.pool().ParallelFor(s.images * groups, 1, [&](int64_t begin, int64_t end) {
      TapBlock<T> taps(s.axes, s.shape, false);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / groups, first = i % groups * kChannelGroup;
        const int64_t last = std::min(s.channels, first + kChannelGroup);
        for (int64_t p = 0; p < s.points; p += kSampleBlock) {
          const int64_t n = std::min(kSampleBlock, s.points - p);
          FillBlock(s, grid, image, p, n, &taps);
          for (int64_t ch = image * s.channels + first; ch < image * s.channels + last; ++ch)
            ImageRowsOf(T()).scatter(n, taps.taps(), taps.at(), taps.weight(), kSampleBlock,
                                     dy + ch * s.points + p, dx + ch * s.plane);
        }
      }
    });
  }

  template <class T, class G>
  static void InGrid(KernelContext& c, const Sampling& s, const G* grid, const T* x, const T* dy,
                     G* dgrid) {
    const int64_t blocks = (s.points + kSampleBlock - 1) / kSampleBlock;
    c.pool().ParallelFor(s.images * blocks, 1, [&](int64_t begin, int64_t end) {
      TapBlock<T> taps(s.axes, s.shape, true);
      std::vector<T> sums(static_cast<size_t>(taps.taps() * kSampleBlock));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / blocks, p = i % blocks * kSampleBlock;
        const int64_t n = std::min(kSampleBlock, s.points - p);
        FillBlock(s, grid, image, p, n, &taps);
        std::fill(sums.begin(), sums.end(), T(0));
        for (int64_t ch = image * s.channels; ch < (image + 1) * s.channels; ++ch)
          ImageRowsOf(T()).dot(n, taps.taps(), taps.at(), kSampleBlock, dy + ch * s.points + p,
                               x + ch * s.plane, sums.data());
        G* to = dgrid + (image * s.points + p) * s.rank;
        for (int64_t j = 0; j < n; ++j) {
          for (int d = 0; d < s.rank; ++d) {
            T sum = T(0);
            for (int64_t k = 0; k < taps.taps(); ++k)
              sum += taps.slope(d)[k * kSampleBlock + j] * sums[k * kSampleBlock + j];
            to[j * s.rank + s.rank - 1 - d] =
                static_cast<G>(sum * static_cast<T>(s.axes[d].scale()));
          }
        }
      }
    });
  }

  SampleAttributes attributes_;
};

// theta (N, r, r + 1), size (N, C, sizes...) -> grid (N, sizes..., r), any r.
class AffineGrid : public Kernel {
 public:
  explicit AffineGrid(const Attributes& a) : align_corners_(a.Int("align_corners", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor& theta = c.input(0);
    const std::vector<int64_t> size = ReadInts(c.input(1), "size");
    const int rank = static_cast<int>(size.size()) - 2;
    TK_REQUIRE(rank >= 1 && rank < kMaxRank - 1, ErrorKind::kShape,
               "size must be (N, C, sizes...), got ", size.size(), " values");
    TK_REQUIRE(theta.rank() == 3 && theta.dim(0) == size[0] && theta.dim(1) == rank &&
                   theta.dim(2) == rank + 1,
               ErrorKind::kShape, "theta must be (", size[0], ", ", rank, ", ", rank + 1,
               ") as size says, got ", theta.shape().ToString());
    Shape shape = {size[0]};
    for (int d = 0; d < rank; ++d) {
      TK_REQUIRE(size[d + 2] >= 0, ErrorKind::kInvalidArgument, "size must not be negative, got ",
                 size[d + 2]);
      shape.push_back(size[d + 2]);
    }
    shape.push_back(rank);
    Tensor& grid = c.Output(0, theta.dtype(), shape);
    if (grid.size() == 0) return;
    DispatchFloats(theta.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      Fill(c, rank, shape, theta.data<T>(), grid.data<T>());
    });
  }

 private:
  // The i-th of n positions, between -1 and 1.
  double Position(int64_t i, int64_t n) const {
    const double at = static_cast<double>(i), count = static_cast<double>(n);
    if (!align_corners_) return (2 * at + 1) / count - 1;
    return n > 1 ? 2 * at / (count - 1) - 1 : -1;
  }

  // Row by row of the innermost axis: what the other axes contribute is constant along it.
  template <class T>
  void Fill(KernelContext& c, int rank, const Shape& shape, const T* theta, T* grid) const {
    const int64_t width = shape[rank], rows = shape.Count(1, rank);
    std::vector<double> along(static_cast<size_t>(width));
    for (int64_t j = 0; j < width; ++j) along[j] = Position(j, width);
    c.pool().ParallelFor(shape[0] * rows, 1 + 8192 / width, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* matrix = theta + i / rows * rank * (rank + 1);
        T* to = grid + i * width * rank;
        for (int k = 0; k < rank; ++k) {
          const T* row = matrix + k * (rank + 1);
          double base = row[rank];
          int64_t rest = i % rows;
          for (int d = rank - 1; d >= 1; --d) {  // Column rank - d belongs to dimension d of shape.
            base += static_cast<double>(row[rank - d]) * Position(rest % shape[d], shape[d]);
            rest /= shape[d];
          }
          for (int64_t j = 0; j < width; ++j)
            to[j * rank + k] = static_cast<T>(static_cast<double>(row[0]) * along[j] + base);
        }
      }
    });
  }

  bool align_corners_;
};

static const bool kGridSample =
    Register<GridSample>("GridSample").Types(kSampleTypes | kStrings).Widen({0});
static const bool kGridSampleGrad =
    Register<GridSampleGrad>("GridSampleGrad").Types(kFloats).Widen({0, 1}).Domain("toolkit.grad");
static const bool kAffineGrid = Register<AffineGrid>("AffineGrid").Types(kFloats).Widen();

}  // namespace
}  // namespace toolkit
