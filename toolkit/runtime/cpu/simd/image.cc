#include "simd/image.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T, int Taps>
TK_INLINE void BlendFixed(int64_t n, const T* w, const T* const* x, T* y) {
  constexpr int kWidth = kLanes<T>;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    Vec<T> sum = Set1(w[0]) * Load(x[0] + i);
    for (int k = 1; k < Taps; ++k) sum += Set1(w[k]) * Load(x[k] + i);
    Store(y + i, sum);
  }
  for (; i < n; ++i) {
    T sum = w[0] * x[0][i];
    for (int k = 1; k < Taps; ++k) sum += w[k] * x[k][i];
    y[i] = sum;
  }
}

template <class T>
void Blend(int64_t n, int64_t taps, const T* w, const T* const* x, T* y) {
  switch (taps) {
    case 1:
      return BlendFixed<T, 1>(n, w, x, y);
    case 2:
      return BlendFixed<T, 2>(n, w, x, y);
    case 3:
      return BlendFixed<T, 3>(n, w, x, y);
    case 4:
      return BlendFixed<T, 4>(n, w, x, y);
  }
  for (int64_t i = 0; i < n; ++i) y[i] = T(0);
  for (int64_t k = 0; k < taps; ++k) {
    const T* row = x[k];
    const T weight = w[k];
    for (int64_t i = 0; i < n; ++i) y[i] += weight * row[i];
  }
}

template <class T>
TK_INLINE T Read(const T* x, int32_t at) {
  const T value = x[at < 0 ? 0 : at];
  return at < 0 ? T(0) : value;
}

template <class T, int Taps>
TK_INLINE void GatherFixed(int64_t n, const int32_t* at, const T* w, int64_t stride, const T* x,
                           T* y) {
  for (int64_t i = 0; i < n; ++i) {
    T sum = w[i] * Read(x, at[i]);
    for (int k = 1; k < Taps; ++k) sum += w[k * stride + i] * Read(x, at[k * stride + i]);
    y[i] = sum;
  }
}

template <class T>
void Gather(int64_t n, int64_t taps, const int32_t* at, const T* w, int64_t stride, const T* x,
            T* y) {
  switch (taps) {
    case 1:
      return GatherFixed<T, 1>(n, at, w, stride, x, y);
    case 2:
      return GatherFixed<T, 2>(n, at, w, stride, x, y);
    case 4:
      return GatherFixed<T, 4>(n, at, w, stride, x, y);
    case 8:
      return GatherFixed<T, 8>(n, at, w, stride, x, y);
  }
  for (int64_t i = 0; i < n; ++i) y[i] = T(0);
  for (int64_t k = 0; k < taps; ++k, at += stride, w += stride)
    for (int64_t i = 0; i < n; ++i) y[i] += w[i] * Read(x, at[i]);
}

template <class T>
void Scatter(int64_t n, int64_t taps, const int32_t* at, const T* w, int64_t stride, const T* y,
             T* x) {
  for (int64_t i = 0; i < n; ++i) {
    const T value = y[i];
    for (int64_t k = 0; k < taps; ++k) {
      const int32_t to = at[k * stride + i];
      if (to >= 0) x[to] += w[k * stride + i] * value;
    }
  }
}

template <class T>
void Dot(int64_t n, int64_t taps, const int32_t* at, int64_t stride, const T* y, const T* x,
         T* acc) {
  for (int64_t k = 0; k < taps; ++k, at += stride, acc += stride)
    for (int64_t i = 0; i < n; ++i) acc[i] += y[i] * Read(x, at[i]);
}

template <class T>
constexpr ImageRows<T> Rows() {
  return {Blend<T>, Gather<T>, Scatter<T>, Dot<T>};
}

}  // namespace

extern const ImageTable image_table = {Rows<float>(), Rows<double>()};

}  // namespace toolkit::TOOLKIT_ISA_NS
