// The largest errors of the float32 functions, for each instruction set of this processor:
// `ulp [STEP [NAME ...]]`. Every float from 2^-30 to 2^21 in size is tried, and every 64th of the
// smaller and the larger ones; with a STEP every STEP-th of these.
//
// An error is counted in units of the last place of the exact result, where that is a normal
// number; elsewhere the result must be of the same kind: infinite, NaN, or next to zero. Denormal
// arguments count as zero. Three columns an instruction set: the error where x > 0, where x < 0,
// and the largest absolute error where x < 0 (functions that fall to zero there are used for that).
#include "tests/native/ulp.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/isa.h"
#include "core/thread_pool.h"

#if defined(__x86_64__)
#define TK_EACH_ISA(X) X(isa_v2) X(isa_v3) X(isa_v4)
#else
#define TK_EACH_ISA(X) X(isa_neon)
#endif

namespace toolkit {
namespace {

constexpr int64_t kBlock = 1 << 14;
constexpr int kFloat = static_cast<int>(Element::kF32);

struct Build {
  const char* name;
  const UnaryTable* unary;
  const BinaryTable* binary;
};

std::vector<Build> Builds() {
#define TK_BUILD(ns) {#ns, &ns::unary_table, &ns::binary_table},
  std::vector<Build> builds = {TK_EACH_ISA(TK_BUILD)};
#undef TK_BUILD
  const int best = static_cast<int>(ActiveIsa());
  if (ActiveIsa() != Isa::kNeon) builds.resize(static_cast<size_t>(best) + 1);
  return builds;
}

struct Worst {
  double error = 0, at = 0;
  void See(double e, double x) {
    if (e > error) error = e, at = x;
  }
};
struct Errors {
  Worst above, below, absolute;  // x > 0 and x < 0 in ulp, x < 0 absolute.
  int64_t wrong = 0;             // Of another kind.
  double wrong_at = 0;
};

double Ulp(double want) {  // Of a float near `want`.
  return std::ldexp(1.0, std::ilogb(static_cast<float>(want)) - 23);
}

// Below it sums and products inside a function may be flushed to zero.
constexpr double kSmallest = 0x1p-102, kLargest = 3.4028234663852886e38;

bool SameKind(float got, double want) {
  if (std::isnan(want)) return std::isnan(got);
  if (std::fabs(want) > kLargest) return got == static_cast<float>(want);
  return std::fabs(got) <= 2 * kSmallest;
}

// Errors that may exceed what was found before are looked at one by one.
void Compare(const float* x, const float* got, const double* want, int64_t n, Errors* e) {
  const double relative = std::min(e->above.error, e->below.error) * 0x1p-24;
  const double absolute = e->absolute.error;
  int64_t any = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double size = std::fabs(want[i]), error = std::fabs(got[i] - want[i]);
    const bool as_before =
        (error <= relative * size) & (size >= kSmallest) & ((x[i] > 0) | (error <= absolute));
    const bool special = ((size > kLargest) & (got[i] == want[i])) |
                         ((size < kSmallest) & (std::fabs(got[i]) <= kSmallest)) |
                         ((want[i] != want[i]) & (got[i] != got[i]));
    any |= !(as_before | special);
  }
  if (!any) return;
  for (int64_t i = 0; i < n; ++i) {
    if (std::fpclassify(x[i]) == FP_SUBNORMAL) continue;
    const double size = std::fabs(want[i]);
    if (size >= kSmallest && size <= kLargest && std::isfinite(got[i])) {
      const double error = std::fabs(got[i] - want[i]);
      (x[i] > 0 ? e->above : e->below).See(error / Ulp(want[i]), x[i]);
      if (x[i] < 0) e->absolute.See(error, x[i]);
    } else if (!SameKind(got[i], want[i])) {
      if (!e->wrong++) e->wrong_at = x[i];
    }
  }
}

// From one float's bits to the next one's.
uint64_t Stride(uint64_t bits) {
  const auto exponent = static_cast<int>(bits >> 23 & 255) - 127;
  return exponent >= -30 && exponent < 21 ? 1 : 64;
}

template <class Run, class Exact>
void Report(const std::string& name, uint64_t step, const Run& run, const Exact& exact) {
  const std::vector<Build> builds = Builds();
  std::vector<Errors> errors(builds.size());
  std::vector<float> x(kBlock), y(kBlock);
  std::vector<double> wide(kBlock), want(kBlock);
  FlushDenormals flush;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32);) {
    int64_t n = 0;
    for (; n < kBlock && bits < (uint64_t{1} << 32); ++n, bits += step * Stride(bits)) {
      const auto word = static_cast<uint32_t>(bits);
      std::memcpy(&x[n], &word, 4);
      wide[n] = x[n];
    }
    exact(want.data(), wide.data(), n);
    for (size_t b = 0; b < builds.size(); ++b) {
      run(builds[b], y.data(), x.data(), n);
      Compare(x.data(), y.data(), want.data(), n, &errors[b]);
    }
  }
  for (size_t b = 0; b < builds.size(); ++b) {
    const Errors& e = errors[b];
    std::printf("%-12s %-8s %8.2f at %-14.8g %10.2f at %-14.8g %9.2g at %-14.8g", name.c_str(),
                builds[b].name, e.above.error, e.above.at, e.below.error, e.below.at,
                e.absolute.error, e.absolute.at);
    if (e.wrong) std::printf("  %lld of another kind, as %g", (long long)e.wrong, e.wrong_at);
    std::printf("\n");
    std::fflush(stdout);
  }
}

void ReportPow(float exponent, uint64_t step) {
  char name[32];
  std::snprintf(name, sizeof(name), "pow %.4g", exponent);
  const auto run = [=](const Build& build, float* y, const float* x, int64_t n) {
    build.binary->fn[static_cast<int>(BinaryOp::kPow)][kFloat](y, x, &exponent, n, 1, 0);
  };
  const auto exact = [=](double* y, const double* x, int64_t n) { ExactPow(y, x, exponent, n); };
  Report(name, step, run, exact);
}

void ReportRsqrt(uint64_t step) {
  const auto run = [](const Build& build, float* y, const float* x, int64_t n) {
    build.unary->fn[static_cast<int>(UnaryOp::kSqrt)][kFloat](y, x, n, nullptr);
    build.unary->fn[static_cast<int>(UnaryOp::kReciprocal)][kFloat](y, y, n, nullptr);
  };
  Report("rsqrt", step, run, ExactRsqrt);
}

}  // namespace
}  // namespace toolkit

int main(int argc, char** argv) {
  using namespace toolkit;
  const uint64_t step = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const std::vector<std::string> names(argv + (argc > 2 ? 2 : argc), argv + argc);
  const auto wanted = [&](const std::string& name) {
    for (const std::string& n : names)
      if (n == name) return true;
    return names.empty();
  };
  std::printf("%-12s %-8s %26s %29s %25s\n", "function", "isa", "ulp, x > 0", "ulp, x < 0",
              "absolute, x < 0");
  for (const Function& f : Functions())
    if (wanted(f.name))
      Report(
          f.name, step,
          [&](const Build& build, float* y, const float* x, int64_t n) {
            build.unary->fn[static_cast<int>(f.op)][kFloat](y, x, n, f.params.data());
          },
          f.exact);
  if (wanted("rsqrt")) ReportRsqrt(step);
  if (wanted("pow"))
    for (float exponent : {0.5f, 2.0f, 3.0f, -1.0f, -0.5f, 1.0f / 3, 2.4f, -3.7f, 0.01f, 17.5f})
      ReportPow(exponent, step);
}
