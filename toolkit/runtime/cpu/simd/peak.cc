#include "simd/peak.h"

#include "simd/vec.h"

namespace toolkit::TOOLKIT_ISA_NS {
namespace {

using V = Vec<float>;
constexpr int kL = kLanes<float>;
constexpr int kChains = 12;  // Enough for two units of a latency of 4 to 6.

float Sum(const V* v, int count) {
  float sum = 0;
  for (int u = 0; u < count; ++u)
    for (int l = 0; l < kL; ++l) sum += v[u][l];
  return sum;
}

float MultiplyAdd(int64_t rounds, float x) {
  const V factor = Set1(x), term = Set1(1 - x);
  V acc[kChains];
  for (int u = 0; u < kChains; ++u) acc[u] = Set1(x + static_cast<float>(u));
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int u = 0; u < kChains; ++u) acc[u] = acc[u] * factor + term;
  }
  return Sum(acc, kChains);
}

float Read(const float* x, int64_t n) {
  constexpr int kUnroll = 8;
  V acc[kUnroll] = {};
  int64_t i = 0;
  for (; i + kUnroll * kL <= n; i += kUnroll * kL) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnroll; ++u) acc[u] += Load(x + i + u * kL);
  }
  float sum = Sum(acc, kUnroll);
  for (; i < n; ++i) sum += x[i];
  return sum;
}

}  // namespace

extern const PeakTable peak_table = {MultiplyAdd, 2 * kChains * kL, Read};

}  // namespace toolkit::TOOLKIT_ISA_NS
