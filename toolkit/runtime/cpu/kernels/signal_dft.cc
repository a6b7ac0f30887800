// DFT and STFT. Lines are gathered into tiles of kFftLines, windowed on the way, transformed and
// scattered; parallel over tiles, or within a line where lines are few and long.
#include <algorithm>

#include "kernels/fft.h"
#include "kernels/half.h"
#include "kernels/movement.h"

namespace toolkit {
namespace {

enum class Kind {
  kComplex,     // Complex (or real) to complex: n to n, or to the first half.
  kRealToHalf,  // Even n: n real values seen as n / 2 complex ones.
  kHalfToReal,  // Its inverse.
  kOddToReal,   // From bins 0 to n / 2 of an odd n: the others are their conjugates.
};

// All lines of one operator. Strides are in elements.
template <class T>
struct Transform {
  int64_t lines, n;  // n: the length of the transform.
  int64_t count;     // Elements that a line has, at most n; the rest count as zero.
  int64_t bins;      // Elements of a result.
  bool complex_in, real_out, inverse;
  int64_t in_stride, out_stride;
  const T* window = nullptr;

  Kind kind() const {
    const bool even = n % 2 == 0;
    if (real_out) return even ? Kind::kHalfToReal : Kind::kOddToReal;
    return !complex_in && !inverse && even ? Kind::kRealToHalf : Kind::kComplex;
  }
  int64_t length() const {  // Of the complex transform inside.
    return kind() == Kind::kRealToHalf || kind() == Kind::kHalfToReal ? n / 2 : n;
  }
};

template <class T>
const FftFunctions<T>& Loops() {
  if constexpr (sizeof(T) == 4)
    return FftLoops().f32;
  else
    return FftLoops().f64;
}

// Moves lines in and out of a buffer of L lines: re[k * L + l], im[k * L + l]. Whole tiles go by
// vectors; else by blocks of elements, all lines of a block while it is in the first-level cache.
template <class T, int L>
class Mover {
 public:
  Mover(const Transform<T>& t, T* re, T* im) : t_(t), re_(re), im_(im) {}

  // x[l], l < lines: the first element of line l.
  void Load(const T* const* x, int lines) {
    const int64_t n = t_.n, count = t_.count;
    switch (t_.kind()) {
      case Kind::kComplex:
      case Kind::kHalfToReal:
        t_.complex_in ? LoadElements<true>(x, lines) : LoadElements<false>(x, lines);
        return Zero(count, t_.kind() == Kind::kComplex ? n : n / 2 + 1);
      case Kind::kRealToHalf:
        LoadPairs(x, lines);
        return Zero((count + 1) / 2, n / 2);
      case Kind::kOddToReal:
        LoadElements<true>(x, lines);
        Zero(count, n / 2 + 1);
        std::fill_n(im_, L, T(0));  // Bin 0 counts as real.
        for (int64_t k = 1; k <= n / 2; ++k)
          for (int l = 0; l < L; ++l) {
            re_[(n - k) * L + l] = re_[k * L + l];
            im_[(n - k) * L + l] = -im_[k * L + l];
          }
    }
  }

  void Store(T* const* y, int lines) const {
    const int64_t h = t_.n / 2, s = t_.out_stride;
    const T scale = t_.inverse ? T(1) / static_cast<T>(t_.n) : T(1);
    switch (t_.kind()) {
      case Kind::kComplex:
        return StorePairs(y, lines, t_.bins, s, 1, scale);
      case Kind::kRealToHalf:
        StorePairs(y, lines, std::min(t_.bins, h + 1), s, 1, scale);
        return ForBlocks(t_.bins - h - 1, lines, [&](int l, int64_t k) {  // Conjugates.
          const int64_t to = (h + 1 + k) * s, from = (t_.n - h - 1 - k) * L + l;
          y[l][to] = re_[from];
          y[l][to + 1] = -im_[from];
        });
      case Kind::kHalfToReal:
        return StorePairs(y, lines, h, 2 * s, s, T(2) * scale);
      case Kind::kOddToReal:
        ForBlocks(t_.n, lines, [&](int l, int64_t k) { y[l][k * s] = scale * re_[k * L + l]; });
    }
  }

 private:
  template <class Fn>
  static void ForBlocks(int64_t n, int lines, Fn fn) {
    constexpr int64_t kBlock = 16;
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      const int64_t end = std::min(n, begin + kBlock);
      for (int l = 0; l < lines; ++l)
        for (int64_t k = begin; k < end; ++k) fn(l, k);
    }
  }
  template <class P>
  static bool SideBySide(P x, int64_t step) {
    for (int l = 1; l < kFftLines; ++l)
      if (x[l] - x[0] != l * step) return false;
    return true;
  }
  // Pairs of elements `second` apart, `first` from one to the next.
  void StorePairs(T* const* y, int lines, int64_t pairs, int64_t first, int64_t second,
                  T scale) const {
    if (lines == kFftLines && second == 1) {
      if (first == 2) return Loops<T>().scatter(y, re_, im_, pairs, scale);
      if (SideBySide(y, 2)) return Loops<T>().scatter_columns(y[0], first, re_, im_, pairs, scale);
    }
    ForBlocks(pairs, lines, [&](int l, int64_t k) {
      y[l][k * first] = scale * re_[k * L + l];
      y[l][k * first + second] = scale * im_[k * L + l];
    });
  }
  template <bool kComplexIn>
  void LoadElements(const T* const* x, int lines) {
    const int64_t s = t_.in_stride;
    const T* window = t_.window;
    if (kComplexIn && lines == kFftLines && !window) {
      if (s == 2) return Loops<T>().gather(re_, im_, x, t_.count, nullptr);
      if (SideBySide(x, 2)) return Loops<T>().gather_columns(re_, im_, x[0], s, t_.count);
    }
    ForBlocks(t_.count, lines, [&](int l, int64_t k) {
      const T w = window ? window[k] : T(1);
      re_[k * L + l] = w * x[l][k * s];
      im_[k * L + l] = kComplexIn ? w * x[l][k * s + 1] : T(0);
    });
  }
  void LoadPairs(const T* const* x, int lines) {
    const int64_t s = t_.in_stride;
    const T* window = t_.window;
    if (lines == kFftLines && s == 1)
      Loops<T>().gather(re_, im_, x, t_.count / 2, window);
    else
      ForBlocks(t_.count / 2, lines, [&](int l, int64_t k) {
        re_[k * L + l] = window ? window[2 * k] * x[l][2 * k * s] : x[l][2 * k * s];
        im_[k * L + l] = window ? window[2 * k + 1] * x[l][(2 * k + 1) * s] : x[l][(2 * k + 1) * s];
      });
    if (t_.count % 2 == 0) return;
    const int64_t k = t_.count / 2;  // The last element has no partner.
    for (int l = 0; l < lines; ++l) {
      re_[k * L + l] = window ? window[2 * k] * x[l][2 * k * s] : x[l][2 * k * s];
      im_[k * L + l] = T(0);
    }
  }
  void Zero(int64_t from, int64_t to) {
    if (from >= to) return;
    std::fill_n(re_ + from * L, (to - from) * L, T(0));
    std::fill_n(im_ + from * L, (to - from) * L, T(0));
  }

  const Transform<T>& t_;
  T *re_, *im_;
};

// source(l) and target(l) point to the first element of line l.
template <class T, class Source, class Target>
class Runner {
 public:
  Runner(const Transform<T>& t, Source source, Target target)
      : t_(t), source_(source), target_(target), plan_(FftPlan<T>::Of(t.length())) {
    if (t.length() != t.n) roots_ = FftPlan<T>::HalfRoots(t.n);
  }

  void Run(ThreadPool& pool) const {
    if (!plan_->ByLine(t_.lines)) {
      const int64_t tiles = (t_.lines + kFftLines - 1) / kFftLines;
      return pool.ParallelFor(
          tiles, std::max<int64_t>(1, 512 / plan_->padded()), [&](int64_t begin, int64_t end) {
            Lines<kFftLines>(pool, begin * kFftLines, std::min(end * kFftLines, t_.lines));
          });
    }
    if (t_.lines < 2 * pool.num_threads()) return Lines<1>(pool, 0, t_.lines);
    pool.ParallelFor(t_.lines, 1, [&](int64_t begin, int64_t end) { Lines<1>(pool, begin, end); });
  }

 private:
  // L lines at a time.
  template <int L>
  void Lines(ThreadPool& pool, int64_t begin, int64_t end) const {
    const int64_t size = L * (plan_->padded() + 1);  // Half a spectrum has one element more.
    const auto buffer = Buffer::Allocate(static_cast<size_t>(4 * size) * sizeof(T));
    T *re = reinterpret_cast<T*>(buffer->data()), *im = re + size, *work = im + size;
    std::fill_n(re, 2 * size, T(0));
    Mover<T, L> mover(t_, re, im);
    for (; begin < end; begin += L) {
      const int lines = static_cast<int>(std::min<int64_t>(L, end - begin));
      const T* from[L];
      T* to[L];
      for (int l = 0; l < lines; ++l) from[l] = source_(begin + l), to[l] = target_(begin + l);
      mover.Load(from, lines);
      if (t_.kind() == Kind::kHalfToReal)
        Loops<T>().tangle(re, im, t_.n / 2, L, roots_.re.data(), roots_.im.data());
      T *x = t_.inverse ? im : re, *y = t_.inverse ? re : im;
      if constexpr (L == 1)
        plan_->Line(pool, x, y, work);
      else
        plan_->Tile(x, y, work);
      if (t_.kind() == Kind::kRealToHalf)
        Loops<T>().untangle(re, im, t_.n / 2, L, roots_.re.data(), roots_.im.data());
      mover.Store(to, lines);
    }
  }

  const Transform<T>& t_;
  Source source_;
  Target target_;
  std::shared_ptr<const FftPlan<T>> plan_;
  typename FftPlan<T>::Roots roots_;
};

template <class T, class Source, class Target>
void Run(ThreadPool& pool, const Transform<T>& t, Source source, Target target) {
  if (t.lines > 0 && t.bins > 0) Runner<T, Source, Target>(t, source, target).Run(pool);
}

void RequireComplexAxis(const Tensor& x, const char* what, int rank) {
  const int64_t parts = x.rank() ? x.dim(x.rank() - 1) : 0;
  TK_REQUIRE((rank ? x.rank() == rank : x.rank() >= 2) && (parts == 1 || parts == 2),
             ErrorKind::kShape, what, " must have ", rank ? "rank " : "at least rank ",
             rank ? rank : 2, " and a last axis of 1 (real) or 2 (complex), got shape ",
             x.shape().ToString());
}

class Dft : public Kernel {
 public:
  explicit Dft(const Attributes& a)
      : inverse_(a.Int("inverse", 0) != 0), onesided_(a.Int("onesided", 0) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    RequireComplexAxis(x, "input", 0);
    const int64_t axis_value = c.has_input(2) ? ReadInt(c.input(2), "axis") : -2;
    const int axis = NormalizeAxis(axis_value, x.rank());
    TK_REQUIRE(axis < x.rank() - 1, ErrorKind::kInvalidArgument,
               "axis must name an axis of the signal, not the last one, got ", axis_value);
    const bool complex_in = x.dim(x.rank() - 1) == 2, real_out = inverse_ && onesided_;
    if (onesided_)
      TK_REQUIRE(complex_in == inverse_, ErrorKind::kShape, "onesided requires a ",
                 inverse_ ? "complex input of an inverse" : "real input of a forward",
                 " transform, got shape ", x.shape().ToString());
    const int64_t dim = x.dim(axis);
    const int64_t n = c.has_input(1) ? ReadInt(c.input(1), "dft_length")
                      : real_out     ? 2 * (dim - 1)
                                     : dim;
    TK_REQUIRE(n >= 1, ErrorKind::kInvalidArgument, "dft_length must be at least 1, got ", n);
    Shape shape = x.shape();
    const int64_t bins = onesided_ && !inverse_ ? n / 2 + 1 : n;
    shape[axis] = bins;
    shape[x.rank() - 1] = real_out ? 1 : 2;
    WideOutput output(c, 0, c.input(0).dtype(), shape);
    const int64_t inner = shape.Count(axis + 1, x.rank() - 1);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t parts = complex_in ? 2 : 1, results = real_out ? 1 : 2;
      Transform<T> t;
      t.lines = shape.Count(0, axis) * inner;
      t.n = n;
      t.count = std::min(dim, real_out ? n / 2 + 1 : n);
      t.bins = bins;
      t.complex_in = complex_in, t.real_out = real_out, t.inverse = inverse_;
      t.in_stride = inner * parts, t.out_stride = inner * results;
      const T* from = x.data<T>();
      T* to = output.tensor().template data<T>();
      toolkit::Run(
          c.pool(), t,
          [=](int64_t l) { return from + (l / inner * dim * inner + l % inner) * parts; },
          [=](int64_t l) { return to + (l / inner * bins * inner + l % inner) * results; });
    });
    output.Finish();
  }

 private:
  bool inverse_, onesided_;
};

class Stft : public Kernel {
 public:
  explicit Stft(const Attributes& a) : onesided_(a.Int("onesided", 1) != 0) {}

  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    RequireComplexAxis(x, "signal", 3);
    const bool complex_in = x.dim(2) == 2;
    TK_REQUIRE(!(onesided_ && complex_in), ErrorKind::kShape,
               "onesided requires a real signal, got shape ", x.shape().ToString(),
               ". Set onesided to 0");
    const int64_t step = ReadInt(c.input(1), "frame_step"), n = FrameLength(c, x.dim(1));
    TK_REQUIRE(step >= 1, ErrorKind::kInvalidArgument, "frame_step must be at least 1, got ", step);
    const int64_t frames = (x.dim(1) - n) / step + 1, bins = onesided_ ? n / 2 + 1 : n;
    const Tensor window = c.has_input(2) ? Widened(c, c.input(2)) : Tensor();
    WideOutput output(c, 0, c.input(0).dtype(), {x.dim(0), frames, bins, 2});
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t parts = x.dim(2), length = x.dim(1);
      Transform<T> t;
      t.lines = x.dim(0) * frames;
      t.n = t.count = n;
      t.bins = bins;
      t.complex_in = complex_in, t.real_out = t.inverse = false;
      t.in_stride = parts, t.out_stride = 2;
      if (window.defined()) t.window = window.data<T>();
      const T* from = x.data<T>();
      T* to = output.tensor().template data<T>();
      toolkit::Run(
          c.pool(), t,
          [=](int64_t l) { return from + (l / frames * length + l % frames * step) * parts; },
          [=](int64_t l) { return to + l * bins * 2; });
    });
    output.Finish();
  }

 private:
  // frame_length, else the window's length, else the signal's.
  static int64_t FrameLength(KernelContext& c, int64_t length) {
    const Tensor* window = c.optional_input(2);
    if (window)
      TK_REQUIRE(window->rank() == 1 && window->dtype() == c.input(0).dtype(), ErrorKind::kShape,
                 "window must be a vector of the signal's type, got ", Name(window->dtype()), " ",
                 window->shape().ToString());
    const int64_t n = c.has_input(3) ? ReadInt(c.input(3), "frame_length")
                      : window       ? window->dim(0)
                                     : length;
    TK_REQUIRE(!window || window->dim(0) == n, ErrorKind::kShape,
               "window must have frame_length elements, got ", window->dim(0), " and ", n);
    TK_REQUIRE(n >= 1 && n <= length, ErrorKind::kInvalidArgument, "frame_length must lie in [1, ",
               length, "], the signal's length, got ", n);
    return n;
  }

  bool onesided_;
};

static const bool kTransforms =
    Register<Dft>("DFT").Types(kAnyFloat) && Register<Stft>("STFT").Types(kAnyFloat);

}  // namespace
}  // namespace toolkit
