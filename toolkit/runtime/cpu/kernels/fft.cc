#include "kernels/fft.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <mutex>

#include "core/tensor.h"

namespace toolkit {

namespace {

template <class T>
const FftFunctions<T>& Loops() {
  if constexpr (sizeof(T) == 4)
    return FftLoops().f32;
  else
    return FftLoops().f64;
}

constexpr double kPi = 3.14159265358979323846;

// e^(-2 pi i k / n) by octants, so that equal roots are equal bits and 1, -i, -1, i are exact.
void Root(int64_t k, int64_t n, double* re, double* im) {
  k %= n;
  int64_t eighths = 8 * k / n;
  const double rest = 2 * kPi * static_cast<double>(8 * k - eighths * n) / (8.0 * double(n));
  // The angle is eighths * pi / 4 + rest; odd octants are mirrored.
  const double angle = eighths % 2 ? kPi / 4 - rest : rest;
  double c = std::cos(angle), s = std::sin(angle);
  if (8 * k == eighths * n && eighths % 2) c = s = std::sqrt(0.5);
  const int quarter = static_cast<int>((eighths + 1) / 2) % 4;
  if (eighths % 2) s = -s;
  // (c, s) is the angle against the nearest multiple of pi / 2.
  const double x[4] = {c, -s, -c, s}, y[4] = {s, c, -s, -c};
  *re = x[quarter];
  *im = -y[quarter];
}

template <class Roots>
void Reserve(Roots& roots, int64_t n) {
  roots.re.reserve(static_cast<size_t>(n));
  roots.im.reserve(static_cast<size_t>(n));
}

template <class T>
void AddRoot(std::vector<T>& re, std::vector<T>& im, int64_t k, int64_t n) {
  double c, s;
  Root(k, n, &c, &s);
  re.push_back(static_cast<T>(c));
  im.push_back(static_cast<T>(s));
}

// The radices of n, or nothing when a prime factor is too large.
std::vector<int> Radices(int64_t n) {
  std::vector<int> radices;
  for (int r : {4, 2, 3, 5, 7, 11, kFftLargestRadix})
    for (; n % r == 0; n /= r) radices.push_back(r);
  if (n != 1) radices.clear();
  return radices;
}

// The smallest length from n on whose prime factors are 2, 3 and 5.
int64_t SmoothLength(int64_t n) {
  int64_t best = INT64_MAX;
  for (int64_t five = 1; five < 2 * n; five *= 5)
    for (int64_t three = five; three < 2 * n; three *= 3) {
      int64_t length = three;
      while (length < n) length *= 2;
      best = std::min(best, length);
    }
  return best;
}

}  // namespace

template <class T>
std::shared_ptr<const FftPlan<T>> FftPlan<T>::Of(int64_t n) {
  static std::mutex mutex;
  static std::list<std::shared_ptr<const FftPlan>> plans;  // Most recent first.
  constexpr size_t kKept = 16;
  constexpr int64_t kLargestKept = int64_t{1} << 20;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    for (auto it = plans.begin(); it != plans.end(); ++it)
      if ((*it)->n_ == n) {
        plans.splice(plans.begin(), plans, it);
        return plans.front();
      }
  }
  auto plan = std::make_shared<const FftPlan>(n);
  if (n > kLargestKept) return plan;
  const std::lock_guard<std::mutex> lock(mutex);
  plans.push_front(plan);
  if (plans.size() > kKept) plans.pop_back();
  return plan;
}

template <class T>
FftPlan<T>::FftPlan(int64_t n) : n_(n) {
  const std::vector<int> radices = Radices(n);
  if (radices.empty() && n > 1) {
    PlanBluestein();
    return;
  }
  if (n <= kLargestTile) PlanPasses(radices);
  if (n >= kLongLine) PlanLine(radices);
}

template <class T>
void FftPlan<T>::PlanPasses(const std::vector<int>& radices) {
  int64_t n = n_;
  for (int radix : radices) {
    Pass pass = {radix, n / radix, {}, {}};
    Reserve(pass.twiddles, n - n / radix);
    for (int k = 1; k < radix; ++k)
      for (int64_t p = 0; p < pass.m; ++p) AddRoot(pass.twiddles.re, pass.twiddles.im, p * k, n);
    std::vector<T> sines;
    for (int j = 0; j < radix; ++j) AddRoot(pass.roots, sines, j, radix);
    pass.roots.insert(pass.roots.end(), sines.begin(), sines.end());
    passes_.push_back(std::move(pass));
    n /= radix;
  }
}

// chirp[k] = e^(-pi i k^2 / n); kernel is the transform of its conjugate, wrapped around, over the
// padded length.
template <class T>
void FftPlan<T>::PlanBluestein() {
  TK_REQUIRE(n_ < (int64_t{1} << 40), ErrorKind::kMemory, "out of memory: a transform of length ",
             n_);
  convolution_ = Of(SmoothLength(2 * n_ - 1));
  Reserve(chirp_, n_);
  const int64_t padded = convolution_->n_;
  int64_t square = 0;  // k^2 mod 2n, without overflow.
  for (int64_t k = 0; k < n_; ++k) {
    AddRoot(chirp_.re, chirp_.im, square, 2 * n_);
    square = (square + 2 * k + 1) % (2 * n_);
  }
  kernel_.re.resize(static_cast<size_t>(padded));
  kernel_.im.resize(static_cast<size_t>(padded));
  for (int64_t k = 0; k < n_; ++k)
    for (int64_t at : {k, (padded - k) % padded}) {
      kernel_.re[at] = chirp_.re[k] / static_cast<T>(padded);
      kernel_.im[at] = -chirp_.im[k] / static_cast<T>(padded);
    }
  std::vector<T> work(static_cast<size_t>(2 * padded));
  convolution_->Line(ThreadPool::Global(), kernel_.re.data(), kernel_.im.data(), work.data());
}

// The factor of n nearest to its square root.
template <class T>
void FftPlan<T>::PlanLine(const std::vector<int>& radices) {
  int64_t rows = 1;
  std::vector<int64_t> factors = {1};
  for (int radix : radices)
    for (size_t i = 0, n = factors.size(); i < n; ++i)
      if (const int64_t f = factors[i] * radix; f * f <= n_ && f > 0) {
        if (std::find(factors.begin(), factors.end(), f) != factors.end()) continue;
        factors.push_back(f);
        rows = std::max(rows, f);
      }
  Reserve(line_twiddles_, n_ + kFftLines);
  const int64_t columns = n_ / rows;
  for (int64_t a = 0; a < rows; ++a)
    for (int64_t b = 0; b < columns; ++b) AddRoot(line_twiddles_.re, line_twiddles_.im, a * b, n_);
  line_twiddles_.re.resize(static_cast<size_t>(n_ + kFftLines));
  line_twiddles_.im.resize(static_cast<size_t>(n_ + kFftLines));
  rows_ = Of(rows);
  columns_ = Of(columns);
}

template <class T>
typename FftPlan<T>::Roots FftPlan<T>::HalfRoots(int64_t n) {
  Roots roots;
  for (int64_t k = 0; 4 * k <= n; ++k) AddRoot(roots.re, roots.im, k, n);
  return roots;
}

template <class T>
template <class Transform>
void FftPlan<T>::Bluestein(T* re, T* im, int64_t lines, Transform transform) const {
  const FftFunctions<T>& loops = Loops<T>();
  const int64_t padded = convolution_->n_;
  const auto chirp = [&] {
    loops.multiply(re, im, n_, lines, chirp_.re.data(), chirp_.im.data(), 1, 0);
  };
  chirp();
  std::fill(re + n_ * lines, re + padded * lines, T(0));
  std::fill(im + n_ * lines, im + padded * lines, T(0));
  transform(re, im);
  loops.multiply(re, im, padded, lines, kernel_.re.data(), kernel_.im.data(), 1, 0);
  transform(im, re);
  chirp();
}

template <class T>
void FftPlan<T>::Tile(T* re, T* im, T* work) const {
  if (convolution_)
    return Bluestein(re, im, kFftLines, [&](T* r, T* i) { convolution_->Tile(r, i, work); });
  const int64_t size = kFftLines * n_;
  T *from_re = re, *from_im = im, *to_re = work, *to_im = work + size;
  int64_t s = kFftLines;
  for (const Pass& pass : passes_) {
    Loops<T>().pass(pass.radix, pass.m, s, pass.twiddles.re.data(), pass.twiddles.im.data(),
                    pass.roots.data(), from_re, from_im, to_re, to_im);
    s *= pass.radix;
    std::swap(from_re, to_re);
    std::swap(from_im, to_im);
  }
  if (from_re == re) return;
  std::copy_n(from_re, size, re);
  std::copy_n(from_im, size, im);
}

template <class T>
void FftPlan<T>::Line(ThreadPool& pool, T* re, T* im, T* work) const {
  if (convolution_)
    return Bluestein(re, im, 1, [&](T* r, T* i) { convolution_->Line(pool, r, i, work); });
  if (rows_) return SquareLine(pool, re, im, work);
  // Short: a tile with idle lines.
  const int64_t size = kFftLines * n_;
  std::vector<T> tile(static_cast<size_t>(4 * size));
  T *x = tile.data(), *y = x + size;
  for (int64_t k = 0; k < n_; ++k) x[k * kFftLines] = re[k], y[k * kFftLines] = im[k];
  Tile(x, y, y + size);
  for (int64_t k = 0; k < n_; ++k) re[k] = x[k * kFftLines], im[k] = y[k * kFftLines];
}

// x[a * columns + b], a < rows: for each b the transform over a, times e^(-2 pi i a b / n), then
// for each a the transform over b, whose element c is result a + rows * c. Parallel over tiles of
// columns, then of rows.
template <class T>
void FftPlan<T>::SquareLine(ThreadPool& pool, T* re, T* im, T* work) const {
  const int64_t rows = rows_->n_, columns = columns_->n_;
  const auto for_tiles = [&](const FftPlan& plan, int64_t count, auto body) {
    pool.ParallelFor((count + kFftLines - 1) / kFftLines, 1, [&](int64_t begin, int64_t end) {
      const int64_t size = kFftLines * plan.n_;
      const auto buffer = Buffer::Allocate(static_cast<size_t>(4 * size) * sizeof(T));
      T* tile = reinterpret_cast<T*>(buffer->data());
      std::fill_n(tile, 2 * size, T(0));
      for (int64_t at = begin * kFftLines; at < std::min(count, end * kFftLines); at += kFftLines)
        body(at, std::min<int64_t>(kFftLines, count - at), tile, tile + size);
    });
  };
  // A tile's lines are neighbours in memory: rows of at most kFftLines elements.
  const auto move_rows = [](T* to, int64_t to_row, const T* from, int64_t from_row, int64_t n,
                            int64_t lines) {
    for (int64_t k = 0; k < n; ++k) std::copy_n(from + k * from_row, lines, to + k * to_row);
  };
  T *work_re = work, *work_im = work + n_;
  for_tiles(*rows_, columns, [&](int64_t b, int64_t lines, T* x, T* y) {
    move_rows(x, kFftLines, re + b, columns, rows, lines);
    move_rows(y, kFftLines, im + b, columns, rows, lines);
    rows_->Tile(x, y, y + kFftLines * rows);
    Loops<T>().multiply(x, y, rows, kFftLines, line_twiddles_.re.data() + b,
                        line_twiddles_.im.data() + b, columns, 1);
    move_rows(work_re + b, columns, x, kFftLines, rows, lines);
    move_rows(work_im + b, columns, y, kFftLines, rows, lines);
  });
  for_tiles(*columns_, rows, [&](int64_t a, int64_t lines, T* x, T* y) {
    for (int64_t l = 0; l < lines; ++l)
      for (int64_t b = 0, from = (a + l) * columns; b < columns; ++b) {
        x[b * kFftLines + l] = work_re[from + b];
        y[b * kFftLines + l] = work_im[from + b];
      }
    columns_->Tile(x, y, y + kFftLines * columns);
    move_rows(re + a, rows, x, kFftLines, columns, lines);
    move_rows(im + a, rows, y, kFftLines, columns, lines);
  });
}

template class FftPlan<float>;
template class FftPlan<double>;

}  // namespace toolkit
