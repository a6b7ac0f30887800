#include "simd/winograd.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

#define TK_UNROLL _Pragma("GCC unroll 64")

using V = Vec<float>;
using V4 = VecOf<float, 4>::type;
constexpr int kWidth = kLanes<float>;
constexpr int kGroups = kWidth / 4;

// Each group of four lanes is a 4 x 4 matrix spread over four vectors: its transpose.
TK_INLINE void TransposeGroups(V (&v)[4]) {
#if defined(__AVX512F__)
#define TK_LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define TK_HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define TK_LEFT 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define TK_RIGHT 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#elif defined(__AVX2__)
#define TK_LOW 0, 8, 1, 9, 4, 12, 5, 13
#define TK_HIGH 2, 10, 3, 11, 6, 14, 7, 15
#define TK_LEFT 0, 1, 8, 9, 4, 5, 12, 13
#define TK_RIGHT 2, 3, 10, 11, 6, 7, 14, 15
#else
#define TK_LOW 0, 4, 1, 5
#define TK_HIGH 2, 6, 3, 7
#define TK_LEFT 0, 1, 4, 5
#define TK_RIGHT 2, 3, 6, 7
#endif
  const V a = __builtin_shufflevector(v[0], v[1], TK_LOW);
  const V b = __builtin_shufflevector(v[0], v[1], TK_HIGH);
  const V c = __builtin_shufflevector(v[2], v[3], TK_LOW);
  const V d = __builtin_shufflevector(v[2], v[3], TK_HIGH);
  v[0] = __builtin_shufflevector(a, c, TK_LEFT);
  v[1] = __builtin_shufflevector(a, c, TK_RIGHT);
  v[2] = __builtin_shufflevector(b, d, TK_LEFT);
  v[3] = __builtin_shufflevector(b, d, TK_RIGHT);
}

TK_INLINE V4 Load4(const float* p) {
  V4 v;
  memcpy(&v, p, sizeof(v));
  return v;
}

// v[j] = column j, of four, of the tiles at x + offsets[lane].
TK_INLINE void LoadColumns(const float* x, const int32_t* offsets, V (&v)[4]) {
  TK_UNROLL
  for (int q = 0; q < 4; ++q) {
#if defined(__AVX512F__)
    const auto low = __builtin_shufflevector(Load4(x + offsets[q]), Load4(x + offsets[4 + q]), 0, 1,
                                             2, 3, 4, 5, 6, 7);
    const auto high = __builtin_shufflevector(Load4(x + offsets[8 + q]), Load4(x + offsets[12 + q]),
                                              0, 1, 2, 3, 4, 5, 6, 7);
    v[q] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
    v[q] = __builtin_shufflevector(Load4(x + offsets[q]), Load4(x + offsets[4 + q]), 0, 1, 2, 3, 4,
                                   5, 6, 7);
#else
    v[q] = Load4(x + offsets[q]);
#endif
  }
  TransposeGroups(v);
}

// The first `Columns` of the four columns v to the tiles at y + offsets[lane].
template <int Columns>
TK_INLINE void StoreColumns(V (&v)[4], const int32_t* offsets, float* y) {
  TransposeGroups(v);
  TK_UNROLL
  for (int q = 0; q < 4; ++q) {
    V4 part[kGroups];
    memcpy(part, &v[q], sizeof(v[q]));
    TK_UNROLL
    for (int g = 0; g < kGroups; ++g)
      memcpy(y + offsets[4 * g + q], &part[g], Columns * sizeof(float));
  }
}

// F(2, 3): points 0, 1, -1, infinity.
struct F2 {
  static constexpr int kM = 2, kN = 4;
  TK_INLINE static void Input(const V (&d)[4], V (&out)[4]) {
    out[0] = d[0] - d[2];
    out[1] = d[2] + d[1];
    out[2] = d[2] - d[1];
    out[3] = d[3] - d[1];
  }
  TK_INLINE static void Output(const V (&p)[4], V (&y)[2]) {
    const V sum = p[1] + p[2], difference = p[1] - p[2];
    y[0] = p[0] + sum;
    y[1] = difference + p[3];
  }
  TK_INLINE static void Gradient(const V (&y)[2], V (&out)[4]) {
    out[0] = y[0];
    out[1] = y[0] + y[1];
    out[2] = y[0] - y[1];
    out[3] = y[1];
  }
  TK_INLINE static void Weights(const V (&w)[3], V (&out)[4]) {
    const V even = (w[0] + w[2]) * 0.5f, odd = w[1] * 0.5f;
    out[0] = w[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = w[2];
  }
  TK_INLINE static void WeightGradient(const V (&u)[4], V (&w)[3]) {
    const V sum = (u[1] + u[2]) * 0.5f;
    w[0] = u[0] + sum;
    w[1] = (u[1] - u[2]) * 0.5f;
    w[2] = sum + u[3];
  }
};

// F(4, 3): points 0, a, -a, b, -b, infinity with a = 3/4 and b = 3/2. Row p of B^T: the
// coefficients of the product of (t - q) over the other points q; row p of G: 1, p, p^2 over the
// value of that product at p; column p of A^T: 1, p, p^2, p^3.
struct F4 {
  static constexpr int kM = 4, kN = 6;
  static constexpr float kA = 0.75f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;
  static constexpr float kA3 = kA2 * kA, kB3 = kB2 * kB;
  static constexpr float kG0 = 1 / (kA2 * kB2), kGa = 1 / (2 * kA2 * (kA2 - kB2)),
                         kGb = 1 / (2 * kB2 * (kB2 - kA2));
  TK_INLINE static void Input(const V (&d)[6], V (&out)[6]) {
    out[0] = (d[4] - d[2] * (kA2 + kB2)) + d[0] * (kA2 * kB2);
    out[5] = (d[5] - d[3] * (kA2 + kB2)) + d[1] * (kA2 * kB2);
    const V even_a = d[4] - d[2] * kB2, odd_a = d[3] - d[1] * kB2;
    const V even_b = d[4] - d[2] * kA2, odd_b = d[3] - d[1] * kA2;
    out[1] = even_a + odd_a * kA;
    out[2] = even_a - odd_a * kA;
    out[3] = even_b + odd_b * kB;
    out[4] = even_b - odd_b * kB;
  }
  TK_INLINE static void Output(const V (&p)[6], V (&y)[4]) {
    const V even_a = p[1] + p[2], odd_a = p[1] - p[2];
    const V even_b = p[3] + p[4], odd_b = p[3] - p[4];
    y[0] = p[0] + even_a + even_b;
    y[1] = odd_a * kA + odd_b * kB;
    y[2] = even_a * kA2 + even_b * kB2;
    y[3] = p[5] + odd_a * kA3 + odd_b * kB3;
  }
  TK_INLINE static void Gradient(const V (&y)[4], V (&out)[6]) {
    const V even_a = y[0] + y[2] * kA2, odd_a = y[1] * kA + y[3] * kA3;
    const V even_b = y[0] + y[2] * kB2, odd_b = y[1] * kB + y[3] * kB3;
    out[0] = y[0];
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = y[3];
  }
  TK_INLINE static void Weights(const V (&w)[3], V (&out)[6]) {
    const V even_a = (w[0] + w[2] * kA2) * kGa, odd_a = w[1] * (kA * kGa);
    const V even_b = (w[0] + w[2] * kB2) * kGb, odd_b = w[1] * (kB * kGb);
    out[0] = w[0] * kG0;
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = w[2];
  }
  TK_INLINE static void WeightGradient(const V (&u)[6], V (&w)[3]) {
    const V sum_a = (u[1] + u[2]) * kGa, sum_b = (u[3] + u[4]) * kGb;
    w[0] = u[0] * kG0 + sum_a + sum_b;
    w[1] = (u[1] - u[2]) * (kA * kGa) + (u[3] - u[4]) * (kB * kGb);
    w[2] = u[5] + sum_a * kA2 + sum_b * kB2;
  }
};

// F(6, 3): points 0, a, -a, 1, -1, c, -c, infinity with a = 9/16 and c = 7/4, as F(4, 3). For
// forward passes alone.
struct F6 {
  static constexpr int kM = 6, kN = 8;
  static constexpr float kA = 0.5625f, kC = 1.75f, kA2 = kA * kA, kC2 = kC * kC;
  static constexpr float kA3 = kA2 * kA, kC3 = kC2 * kC, kA4 = kA2 * kA2, kC4 = kC2 * kC2;
  static constexpr float kA5 = kA4 * kA, kC5 = kC4 * kC;
  static constexpr float kG0 = -1 / (kA2 * kC2), kGa = 1 / (2 * kA2 * (kA2 - 1) * (kA2 - kC2)),
                         kG1 = 1 / (2 * (1 - kA2) * (1 - kC2)),
                         kGc = 1 / (2 * kC2 * (kC2 - kA2) * (kC2 - 1));
  // d[4] - (p + q) d[2] + p q d[0]: the product of (t^2 - p) (t^2 - q).
  TK_INLINE static V Product(const V& d4, const V& d2, const V& d0, float p, float q) {
    return (d4 - d2 * (p + q)) + d0 * (p * q);
  }
  TK_INLINE static void Input(const V (&d)[8], V (&out)[8]) {
    constexpr float kSum = kA2 + 1 + kC2, kPairs = kA2 + kC2 + kA2 * kC2, kAll = kA2 * kC2;
    out[0] = (d[6] - d[4] * kSum) + (d[2] * kPairs - d[0] * kAll);
    out[7] = (d[7] - d[5] * kSum) + (d[3] * kPairs - d[1] * kAll);
    Pair(Product(d[6], d[4], d[2], 1, kC2), Product(d[5], d[3], d[1], 1, kC2) * kA, out + 1);
    Pair(Product(d[6], d[4], d[2], kA2, kC2), Product(d[5], d[3], d[1], kA2, kC2), out + 3);
    Pair(Product(d[6], d[4], d[2], kA2, 1), Product(d[5], d[3], d[1], kA2, 1) * kC, out + 5);
  }
  TK_INLINE static void Pair(const V& even, const V& odd, V* out) {
    out[0] = even + odd;
    out[1] = even - odd;
  }
  TK_INLINE static void Output(const V (&p)[8], V (&y)[6]) {
    const V even_a = p[1] + p[2], odd_a = p[1] - p[2];
    const V even_1 = p[3] + p[4], odd_1 = p[3] - p[4];
    const V even_c = p[5] + p[6], odd_c = p[5] - p[6];
    y[0] = (p[0] + even_1) + (even_a + even_c);
    y[1] = odd_1 + odd_a * kA + odd_c * kC;
    y[2] = even_1 + even_a * kA2 + even_c * kC2;
    y[3] = odd_1 + odd_a * kA3 + odd_c * kC3;
    y[4] = even_1 + even_a * kA4 + even_c * kC4;
    y[5] = (p[7] + odd_1) + odd_a * kA5 + odd_c * kC5;
  }
  TK_INLINE static void Weights(const V (&w)[3], V (&out)[8]) {
    out[0] = w[0] * kG0;
    Pair((w[0] + w[2] * kA2) * kGa, w[1] * (kA * kGa), out + 1);
    Pair((w[0] + w[2]) * kG1, w[1] * kG1, out + 3);
    Pair((w[0] + w[2] * kC2) * kGc, w[1] * (kC * kGc), out + 5);
    out[7] = w[2];
  }
};

template <class F>
void Input(const float* x, const int32_t* offsets, int64_t pitch, float* out, int64_t step) {
  V rows[F::kN][F::kN];
  TK_UNROLL
  for (int r = 0; r < F::kN; ++r, x += pitch) {
    V first[4], second[4], d[F::kN];
    LoadColumns(x, offsets, first);
    if constexpr (F::kN > 4) LoadColumns(x + 4, offsets, second);
    TK_UNROLL
    for (int j = 0; j < F::kN; ++j) d[j] = j < 4 ? first[j] : second[j - 4];
    F::Input(d, rows[r]);
  }
  TK_UNROLL
  for (int j = 0; j < F::kN; ++j) {
    V d[F::kN], t[F::kN];
    TK_UNROLL
    for (int r = 0; r < F::kN; ++r) d[r] = rows[r][j];
    F::Input(d, t);
    TK_UNROLL
    for (int r = 0; r < F::kN; ++r) Store(out + (r * F::kN + j) * step, t[r]);
  }
}

template <class F>
void Output(const float* in, int64_t step, const int32_t* offsets, int64_t pitch, float* y) {
  V columns[F::kM][F::kN];
  TK_UNROLL
  for (int j = 0; j < F::kN; ++j) {
    V p[F::kN], t[F::kM];
    TK_UNROLL
    for (int r = 0; r < F::kN; ++r) p[r] = Load(in + (r * F::kN + j) * step);
    F::Output(p, t);
    TK_UNROLL
    for (int i = 0; i < F::kM; ++i) columns[i][j] = t[i];
  }
  TK_UNROLL
  for (int i = 0; i < F::kM; ++i, y += pitch) {
    constexpr int kFirst = F::kM < 4 ? F::kM : 4, kRest = F::kM - kFirst;
    V t[F::kM], first[4] = {}, rest[4] = {};
    F::Output(columns[i], t);
    TK_UNROLL
    for (int j = 0; j < F::kM; ++j) (j < 4 ? first[j] : rest[j - 4]) = t[j];
    StoreColumns<kFirst>(first, offsets, y);
    if constexpr (kRest > 0) StoreColumns<kRest>(rest, offsets, y + 4);
  }
}

template <class F>
void Gradient(const float* dy, const int32_t* offsets, int64_t pitch, float* out, int64_t step) {
  V rows[F::kM][F::kN];
  TK_UNROLL
  for (int i = 0; i < F::kM; ++i, dy += pitch) {
    V v[4], t[F::kM];
    LoadColumns(dy, offsets, v);
    TK_UNROLL
    for (int j = 0; j < F::kM; ++j) t[j] = v[j];
    F::Gradient(t, rows[i]);
  }
  TK_UNROLL
  for (int j = 0; j < F::kN; ++j) {
    V d[F::kM], t[F::kN];
    TK_UNROLL
    for (int i = 0; i < F::kM; ++i) d[i] = rows[i][j];
    F::Gradient(d, t);
    TK_UNROLL
    for (int r = 0; r < F::kN; ++r) Store(out + (r * F::kN + j) * step, t[r]);
  }
}

template <class F>
TK_INLINE void OneWeight(const float* w, bool flip, V (&u)[F::kN][F::kN]) {
  V columns[F::kN][3];
  TK_UNROLL
  for (int j = 0; j < 3; ++j) {
    V g[3], t[F::kN];
    TK_UNROLL
    for (int i = 0; i < 3; ++i) {
      const int tap = 3 * i + j;
      g[i] = Load(w + (flip ? 8 - tap : tap) * kWidth);
    }
    F::Weights(g, t);
    TK_UNROLL
    for (int r = 0; r < F::kN; ++r) columns[r][j] = t[r];
  }
  TK_UNROLL
  for (int r = 0; r < F::kN; ++r) F::Weights(columns[r], u[r]);
}

template <class F>
void Weights(int64_t k, int64_t ld, bool flip, const float* w, float* out, int64_t step) {
  for (int64_t i = 0; i < k; ++i, w += 9 * kWidth, out += ld) {
    V u[F::kN][F::kN];
    OneWeight<F>(w, flip, u);
    TK_UNROLL
    for (int p = 0; p < F::kN * F::kN; ++p) Store(out + p * step, u[p / F::kN][p % F::kN]);
  }
}

template <class F>
void WeightGradient(const float* u, int64_t step, float* out) {
  V columns[3][F::kN];
  TK_UNROLL
  for (int j = 0; j < F::kN; ++j) {
    V p[F::kN], t[3];
    TK_UNROLL
    for (int r = 0; r < F::kN; ++r) p[r] = Load(u + (r * F::kN + j) * step);
    F::WeightGradient(p, t);
    TK_UNROLL
    for (int i = 0; i < 3; ++i) columns[i][j] = t[i];
  }
  TK_UNROLL
  for (int i = 0; i < 3; ++i) {
    V t[3];
    F::WeightGradient(columns[i], t);
    TK_UNROLL
    for (int j = 0; j < 3; ++j) Store(out + (3 * i + j) * kWidth, t[j]);
  }
}

template <class F>
constexpr WinogradTransforms Transforms() {
  return {F::kM, Input<F>, Output<F>, Gradient<F>, Weights<F>, WeightGradient<F>};
}

constexpr WinogradTransforms kForward6 = {6, Input<F6>, Output<F6>, nullptr, Weights<F6>, nullptr};

}  // namespace

extern const WinogradTable winograd_table = {kWidth, Transforms<F2>(), Transforms<F4>(), kForward6};

}  // namespace toolkit::TOOLKIT_ISA_NS
