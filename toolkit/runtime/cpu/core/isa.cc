#include "core/isa.h"

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace toolkit {

namespace {

Isa Best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
  return v4 ? Isa::kV4 : v3 ? Isa::kV3 : Isa::kV2;
#else
  return Isa::kNeon;
#endif
}

Isa Choose() {
  const Isa best = Best();
  const char* text = std::getenv("TOOLKIT_ISA");
  if (!text || !*text) return best;
  for (Isa isa : {Isa::kV2, Isa::kV3, Isa::kV4, Isa::kNeon}) {
    if (std::string(text) != IsaName(isa)) continue;
    TK_REQUIRE((isa == Isa::kNeon) == (best == Isa::kNeon) && isa <= best,
               ErrorKind::kInvalidArgument, "TOOLKIT_ISA: this processor runs up to ",
               IsaName(best), ", got ", text);
    return isa;
  }
  Fail(ErrorKind::kInvalidArgument,
       "TOOLKIT_ISA: must be x86-64-v2, x86-64-v3, x86-64-v4 or neon, got ", text);
}

}  // namespace

Isa ActiveIsa() {
  static const Isa isa = Choose();
  return isa;
}

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kV2:
      return "x86-64-v2";
    case Isa::kV3:
      return "x86-64-v3";
    case Isa::kV4:
      return "x86-64-v4";
    default:
      return "neon";
  }
}

}  // namespace toolkit
