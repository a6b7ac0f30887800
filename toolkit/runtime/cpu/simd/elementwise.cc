#include "simd/elementwise.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

template <class T>
void Relu(void* y, const void* x, int64_t n) {
  T* out = static_cast<T*>(y);
  const T* in = static_cast<const T*>(x);
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] < T(0) ? T(0) : in[i];
}

template <class T>
void Add(void* y, const void* a, const void* b, int64_t n, int a_step, int b_step) {
  T* out = static_cast<T*>(y);
  const T* p = static_cast<const T*>(a);
  const T* q = static_cast<const T*>(b);
  if (a_step && b_step)
    for (int64_t i = 0; i < n; ++i) out[i] = p[i] + q[i];
  else if (a_step)
    for (int64_t i = 0; i < n; ++i) out[i] = p[i] + *q;
  else
    for (int64_t i = 0; i < n; ++i) out[i] = *p + q[i];
}

}  // namespace

extern const ElementwiseTable elementwise_table = {
    {Relu<float>, Relu<double>, Relu<int32_t>, Relu<int64_t>},
    {Add<float>, Add<double>, Add<int32_t>, Add<int64_t>},
};

}  // namespace toolkit::TOOLKIT_ISA_NS
