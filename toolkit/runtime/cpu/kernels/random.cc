// Random operators. Every number is a function of (seed, offset, position), so results do not
// depend on the number of threads; nor on the instruction set, but for roundings in the normal
// distribution.
#include "kernels/random.h"

#include <atomic>
#include <cmath>
#include <random>

#include "kernels/half.h"
#include "kernels/movement.h"
#include "simd/philox.h"

namespace toolkit {
namespace {

constexpr int64_t kGrain = 8192;  // Elements: whole blocks of 4 words.
constexpr int64_t kChunk = 1024;  // Words generated at a time, in L1.

// One stream of words: element e uses word e % 4 of block e / 4 (2e and 2e + 1 for doubles).
struct Stream {
  uint64_t seed, offset;

  // Calls fn(first, words, n) for pieces of [begin, end); `begin` is a multiple of 4.
  template <class Fn>
  void ForEach(int64_t begin, int64_t end, int words_per_element, Fn&& fn) const {
    alignas(64) uint32_t words[kChunk];
    const int64_t step = kChunk / words_per_element;
    for (int64_t i = begin; i < end; i += step) {
      const int64_t n = std::min(step, end - i);
      Philox().words(words, (n * words_per_element + 3) / 4,
                     static_cast<uint64_t>(i) * words_per_element / 4, offset, seed);
      fn(i, words, n);
    }
  }
};

void Uniform(ThreadPool& pool, const Stream& s, float* y, int64_t n) {
  pool.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
    s.ForEach(begin, end, 1, [&](int64_t i, const uint32_t* w, int64_t count) {
      Philox().uniform_f32(y + i, w, count);
    });
  });
}

void Uniform(ThreadPool& pool, const Stream& s, double* y, int64_t n) {
  pool.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
    s.ForEach(begin, end, 2, [&](int64_t i, const uint32_t* w, int64_t count) {
      Philox().uniform_f64(y + i, w, count);
    });
  });
}

// Box and Muller (1958): of each pair (u1, u2) of uniforms, r cos(2 pi u2) and r sin(2 pi u2) with
// r = sqrt(-2 ln(1 - u1)), computed in T by the vector functions of simd/math.h.
template <class T>
void Normal(ThreadPool& pool, const Stream& s, T* y, int64_t n) {
  constexpr T kTwoPi = T(6.283185307179586476925286766559);
  constexpr int kWords = sizeof(T) / 4;
  constexpr int64_t kPairs = kChunk / kWords / 2;
  const int element = static_cast<int>(kWords == 1 ? Element::kF32 : Element::kF64);
  const auto function = [element](UnaryOp op) {
    return UnaryFunctions().fn[static_cast<int>(op)][element];
  };
  const UnaryFn log = function(UnaryOp::kLog), sqrt = function(UnaryOp::kSqrt);
  const UnaryFn cos = function(UnaryOp::kCos), sin = function(UnaryOp::kSin);
  pool.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
    s.ForEach(begin, end, kWords, [&](int64_t i, const uint32_t* w, int64_t count) {
      T u[2 * kPairs], r[kPairs], angle[kPairs], part[kPairs];
      const int64_t pairs = (count + 1) / 2;  // The last pair may give one number only.
      if constexpr (kWords == 1)
        Philox().uniform_f32(u, w, 2 * pairs);
      else
        Philox().uniform_f64(u, w, 2 * pairs);
      for (int64_t k = 0; k < pairs; ++k) {
        r[k] = T(1) - u[2 * k];
        angle[k] = kTwoPi * u[2 * k + 1];
      }
      log(r, r, pairs, nullptr);
      for (int64_t k = 0; k < pairs; ++k) r[k] *= T(-2);
      sqrt(r, r, pairs, nullptr);
      cos(part, angle, pairs, nullptr);
      for (int64_t k = 0; k < pairs; ++k) y[i + 2 * k] = r[k] * part[k];
      sin(part, angle, pairs, nullptr);
      for (int64_t k = 0; k < count / 2; ++k) y[i + 2 * k + 1] = r[k] * part[k];
    });
  });
}

// Drops with probability `ratio` (rounded to float, as the operators have it).
template <class T>
void Dropout(ThreadPool& pool, const Stream& s, T* y, uint8_t* mask, const T* x, int64_t n,
             float ratio) {
  TK_REQUIRE(ratio >= 0 && ratio <= 1, ErrorKind::kInvalidArgument,
             "ratio must lie in [0, 1], got ", ratio);
  // u >= ratio for the multiple u of 2^-24, in integers.
  const int32_t threshold = static_cast<int32_t>(std::ceil(static_cast<double>(ratio) * 0x1p24));
  const T scale = ratio < 1 ? T(1) / (T(1) - static_cast<T>(ratio)) : T(0);
  pool.ParallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
    uint8_t unused[kChunk];
    s.ForEach(begin, end, 1, [&](int64_t i, const uint32_t* w, int64_t count) {
      uint8_t* to = mask ? mask + i : unused;
      if constexpr (sizeof(T) == 4)
        Philox().dropout_f32(y + i, to, x + i, w, count, threshold, scale);
      else
        Philox().dropout_f64(y + i, to, x + i, w, count, threshold, scale);
    });
  });
}

// The stream of a toolkit.random operator: the state is (seed, offset), `call` tells the random
// operators of one program apart.
Stream StreamOf(const Tensor& state, int64_t call) {
  TK_REQUIRE(state.dtype() == DType::kUInt64 && state.size() == 2, ErrorKind::kInvalidArgument,
             "state must be uint64 (2,), got ", Name(state.dtype()), " ", state.shape().ToString());
  const uint64_t* s = state.data<uint64_t>();
  return {s[0], s[1] + static_cast<uint64_t>(call)};
}

class SeededDropout : public Kernel {
 public:
  explicit SeededDropout(const Attributes& a)
      : ratio_(static_cast<float>(a.Float("ratio", 0.5))), call_(a.Int("call", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Stream stream = StreamOf(c.input(1), call_);
    Tensor& y = c.Output(0, x.dtype(), x.shape());
    uint8_t* mask =
        c.has_output(1) ? c.Output(1, DType::kBool, x.shape()).data<uint8_t>() : nullptr;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      Dropout(c.pool(), stream, y.data<T>(), mask, x.data<T>(), x.size(), ratio_);
    });
  }

 private:
  float ratio_;
  int64_t call_;
};

class SeededNumbers : public Kernel {
 public:
  SeededNumbers(const Attributes& a, bool normal)
      : normal_(normal),
        dtype_(static_cast<DType>(a.Int("dtype", static_cast<int64_t>(DType::kFloat)))),
        call_(a.Int("call", 0)) {}

  void Run(KernelContext& c) const override {
    const std::vector<int64_t> dims = ReadInts(c.input(0), "shape");
    const Stream stream = StreamOf(c.input(1), call_);
    DispatchFloats(dtype_, [&](auto tag) {
      using T = typename decltype(tag)::type;
      Tensor& y = c.Output(0, dtype_, Shape(dims.data(), dims.size()));
      if (normal_)
        Normal(c.pool(), stream, y.data<T>(), y.size());
      else
        Uniform(c.pool(), stream, y.data<T>(), y.size());
    });
  }

 private:
  bool normal_;
  DType dtype_;
  int64_t call_;
};

struct Unseeded {
  std::atomic<uint64_t> seed{uint64_t{std::random_device{}()} << 32 | std::random_device{}()};
  std::atomic<uint64_t> calls{0};
};

Unseeded& ProcessStream() {
  static Unseeded stream;
  return stream;
}

// The standard random operators: with a seed, the same numbers every run; without one, a stream of
// this process that moves on with every run.
class OwnStream {
 public:
  explicit OwnStream(const Attributes& a) : seeded_(a.Has("seed")) {
    const double seed = a.Float("seed", 0);
    std::memcpy(&seed_, &seed, sizeof(seed_));
  }
  Stream Next() const {
    if (seeded_) return Stream{seed_, 0};
    return Stream{ProcessStream().seed, ProcessStream().calls.fetch_add(1)};
  }

 private:
  bool seeded_;
  uint64_t seed_;
};

enum class Distribution { kUniform, kNormal };

// y = a + b * (a number of the distribution).
class RandomNumbers : public Kernel {
 public:
  RandomNumbers(const Attributes& a, Distribution distribution, bool like)
      : distribution_(distribution), like_(like), stream_(a), dtype_(a.Int("dtype", 0)) {
    if (distribution == Distribution::kUniform) {
      shift_ = a.Float("low", 0);
      scale_ = a.Float("high", 1) - shift_;
    } else {
      shift_ = a.Float("mean", 0);
      scale_ = a.Float("scale", 1);
    }
    if (!like) {
      const std::vector<int64_t> dims = a.Ints("shape");
      shape_ = Shape(dims.data(), dims.size());
    }
  }

  void Run(KernelContext& c) const override {
    DType dtype = dtype_ ? static_cast<DType>(dtype_) : DType::kFloat;
    Shape shape = shape_;
    if (like_) {
      shape = c.input(0).shape();
      if (!dtype_) dtype = c.input(0).dtype();
    }
    const Stream stream = stream_.Next();
    TK_REQUIRE(Contains(kAnyFloat, dtype), ErrorKind::kDType,
               "dtype must be a floating-point type, got ", Name(dtype));
    WideOutput output(c, 0, dtype, shape);
    const Tensor& y = output.tensor();
    DispatchFloats(y.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* out = y.data<T>();
      if (distribution_ == Distribution::kNormal)
        Normal(c.pool(), stream, out, y.size());
      else
        Uniform(c.pool(), stream, out, y.size());
      const T shift = static_cast<T>(shift_), scale = static_cast<T>(scale_);
      if (shift == T(0) && scale == T(1)) return;
      c.pool().ParallelFor(y.size(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) out[i] = shift + scale * out[i];
      });
    });
    output.Finish();
  }

 private:
  Distribution distribution_;
  bool like_;
  OwnStream stream_;
  int64_t dtype_;
  double shift_ = 0, scale_ = 1;
  Shape shape_;
};

class Bernoulli : public Kernel {
 public:
  explicit Bernoulli(const Attributes& a) : stream_(a), dtype_(a.Int("dtype", 0)) {}

  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    const Stream stream = stream_.Next();
    const DType dtype = dtype_ ? static_cast<DType>(dtype_) : c.input(0).dtype();
    const auto draw = [&](auto probability, auto result) {
      using P = typename decltype(probability)::type;
      using T = typename decltype(result)::type;
      const P* p = x.data<P>();
      T* y = c.Output(0, dtype, x.shape()).template data<T>();
      c.pool().ParallelFor(x.size(), kGrain, [&](int64_t begin, int64_t end) {
        stream.ForEach(begin, end, 1, [&](int64_t i, const uint32_t* w, int64_t n) {
          float u[kChunk];
          Philox().uniform_f32(u, w, n);
          for (int64_t k = 0; k < n; ++k) y[i + k] = static_cast<T>(u[k] < p[i + k]);
        });
      });
    };
    DispatchFloats(x.dtype(), [&](auto p) {
      if (dtype == DType::kBool) return draw(p, TypeTag<bool>{});
      DispatchAnyNumber(dtype, [&](auto t) { draw(p, t); });
    });
  }

 private:
  OwnStream stream_;
  int64_t dtype_;
};

// Samples classes from rows of unnormalised log-probabilities by inverting the cumulated sum.
class Multinomial : public Kernel {
 public:
  explicit Multinomial(const Attributes& a)
      : stream_(a),
        dtype_(static_cast<DType>(a.Int("dtype", static_cast<int64_t>(DType::kInt32)))),
        samples_(a.Int("sample_size", 1)) {
    TK_REQUIRE(dtype_ == DType::kInt32 || dtype_ == DType::kInt64, ErrorKind::kDType,
               "dtype must be int32 or int64");
    TK_REQUIRE(samples_ >= 0, ErrorKind::kInvalidArgument, "sample_size must not be negative, got ",
               samples_);
  }

  void Run(KernelContext& c) const override {
    const Tensor x = Widened(c, c.input(0));
    TK_REQUIRE(x.rank() == 2 && (x.dim(1) > 0 || x.dim(0) == 0 || samples_ == 0), ErrorKind::kShape,
               "input must be (batch, classes) with at least one class, got ",
               x.shape().ToString());
    Tensor& y = c.Output(0, dtype_, {x.dim(0), samples_});
    if (y.size() == 0) return;
    double* u = c.Scratch<double>(y.size());
    Uniform(c.pool(), stream_.Next(), u, y.size());
    const int64_t classes = x.dim(1);
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const int64_t grain = std::max<int64_t>(1, 2048 / (classes + samples_));
      c.pool().ParallelFor(x.dim(0), grain, [&](int64_t begin, int64_t end) {
        std::vector<double> sums(classes);
        for (int64_t r = begin; r < end; ++r) {
          Cumulate(x.data<T>() + r * classes, sums);
          for (int64_t i = r * samples_; i < (r + 1) * samples_; ++i) {
            const auto at = std::upper_bound(sums.begin(), sums.end(), u[i] * sums.back());
            const int64_t k = std::min<int64_t>(at - sums.begin(), classes - 1);
            if (dtype_ == DType::kInt32)
              y.data<int32_t>()[i] = static_cast<int32_t>(k);
            else
              y.data<int64_t>()[i] = k;
          }
        }
      });
    });
  }

 private:
  template <class T>
  static void Cumulate(const T* logits, std::vector<double>& sums) {
    const double top = *std::max_element(logits, logits + sums.size());
    double total = 0;
    for (size_t k = 0; k < sums.size(); ++k)
      sums[k] = total += std::exp(static_cast<double>(logits[k]) - top);
  }

  OwnStream stream_;
  DType dtype_;
  int64_t samples_;
};

class StandardDropout : public Kernel {
 public:
  explicit StandardDropout(const Attributes& a)
      : stream_(a), seeded_(a.Has("seed")), seed_(static_cast<uint32_t>(a.Int("seed", 0))) {}

  void Run(KernelContext& c) const override {
    const Tensor& x = c.input(0);
    const Tensor* mode = c.optional_input(2);
    TK_REQUIRE(!mode || (mode->dtype() == DType::kBool && mode->size() == 1),
               ErrorKind::kInvalidArgument, "training_mode must be one bool");
    const float ratio = c.has_input(1) ? ReadRatio(c.input(1)) : 0.5f;
    const bool active = mode && *mode->data<bool>() && ratio != 0;
    if (active) return Drop(c, ratio);
    Tensor& y = c.Output(0, x.dtype(), x.shape());
    Tensor* mask = c.has_output(1) ? &c.Output(1, DType::kBool, x.shape()) : nullptr;
    const bool kept = true;
    if (mask) FillWith(c.pool(), *mask, &kept);
    if (y.raw() != x.raw())
      CopyRows(c.pool(), y.raw(), 1, static_cast<int64_t>(x.bytes()),
               [&](int64_t) { return x.data<char>(); });
  }

 private:
  void Drop(KernelContext& c, float ratio) const {
    const Tensor x = Widened(c, c.input(0));
    WideOutput output(c, 0, c.input(0).dtype(), x.shape());
    uint8_t* mask =
        c.has_output(1) ? c.Output(1, DType::kBool, x.shape()).data<uint8_t>() : nullptr;
    DispatchFloats(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* y = output.tensor().data<T>();
      if (seeded_)
        DropAsReference(y, mask, x.data<T>(), x.size(), ratio);
      else
        Dropout(c.pool(), stream_.Next(), y, mask, x.data<T>(), x.size(), ratio);
    });
    output.Finish();
  }

  // A seed gives the mask that onnx.reference gives: numpy's RandomState(seed).uniform() >= ratio,
  // which is the Mersenne Twister's 53 high bits of two words. One number after the other.
  template <class T>
  void DropAsReference(T* y, uint8_t* mask, const T* x, int64_t n, float ratio) const {
    TK_REQUIRE(ratio >= 0 && ratio <= 1, ErrorKind::kInvalidArgument,
               "ratio must lie in [0, 1], got ", ratio);
    std::mt19937 generator(seed_);
    const T scale = ratio < 1 ? T(1) / (T(1) - static_cast<T>(ratio)) : T(0);
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t high = generator() >> 5, low = generator() >> 6;
      const bool keep = static_cast<double>(high << 26 | low) * 0x1p-53 >= ratio;
      if (mask) mask[i] = keep;
      y[i] = keep ? x[i] * scale : T(0);
    }
  }

  static float ReadRatio(const Tensor& t) {
    TK_REQUIRE(t.size() == 1, ErrorKind::kShape, "ratio must be one number, got shape ",
               t.shape().ToString());
    return DispatchAnyFloat(t.dtype(), [&](auto tag) {
      return static_cast<float>(*t.data<typename decltype(tag)::type>());
    });
  }

  OwnStream stream_;
  bool seeded_;
  uint32_t seed_;
};

static const bool kSeeded =
    Register<SeededDropout>("Dropout").Types(kFloats).Widen().Inplace(0, 0).Domain(
        "toolkit.random") &&
    Register<SeededNumbers>("Uniform", false).Domain("toolkit.random") &&
    Register<SeededNumbers>("Normal", true).Domain("toolkit.random");
static const bool kStandard =
    Register<RandomNumbers>("RandomUniform", Distribution::kUniform, false) &&
    Register<RandomNumbers>("RandomUniformLike", Distribution::kUniform, true) &&
    Register<RandomNumbers>("RandomNormal", Distribution::kNormal, false) &&
    Register<RandomNumbers>("RandomNormalLike", Distribution::kNormal, true) &&
    Register<Bernoulli>("Bernoulli").Types(kAnyFloat) &&
    Register<Multinomial>("Multinomial").Types(kAnyFloat) &&
    Register<StandardDropout>("Dropout").Types(kAnyFloat | kFloat8s).Inplace(0, 0);

}  // namespace

void SeedRandom(uint64_t seed) {
  ProcessStream().seed = seed;
  ProcessStream().calls = 0;
}

}  // namespace toolkit
