// Which build of the simd/ files runs. Those files are compiled once per instruction set, each time
// in another namespace (TOOLKIT_ISA_NS), and publish one table of functions; this header declares
// the tables' twins and picks one at run time.
#pragma once

namespace toolkit {

enum class Isa { kV2, kV3, kV4, kNeon };

// The best that the processor has, or the one that TOOLKIT_ISA names. Chosen once.
Isa ActiveIsa();
const char* IsaName(Isa isa);  // "x86-64-v3"

}  // namespace toolkit

// TOOLKIT_DECLARE_TABLE(GemmTable, gemm_table, Gemm): the file simd/gemm.cc defines
// `const GemmTable gemm_table` inside TOOLKIT_ISA_NS; everyone else calls Gemm().
#if defined(TOOLKIT_ISA_NS)
#define TOOLKIT_DECLARE_TABLE(Type, name, Accessor) \
  namespace toolkit::TOOLKIT_ISA_NS {               \
  extern const Type name;                           \
  }
#elif defined(__x86_64__)
#define TOOLKIT_DECLARE_TABLE(Type, name, Accessor) \
  namespace toolkit::isa_v2 {                       \
  extern const Type name;                           \
  }                                                 \
  namespace toolkit::isa_v3 {                       \
  extern const Type name;                           \
  }                                                 \
  namespace toolkit::isa_v4 {                       \
  extern const Type name;                           \
  }                                                 \
  namespace toolkit {                               \
  inline const Type& Accessor() {                   \
    switch (ActiveIsa()) {                          \
      case Isa::kV4:                                \
        return isa_v4::name;                        \
      case Isa::kV3:                                \
        return isa_v3::name;                        \
      default:                                      \
        return isa_v2::name;                        \
    }                                               \
  }                                                 \
  }
#else
#define TOOLKIT_DECLARE_TABLE(Type, name, Accessor)        \
  namespace toolkit::isa_neon {                            \
  extern const Type name;                                  \
  }                                                        \
  namespace toolkit {                                      \
  inline const Type& Accessor() { return isa_neon::name; } \
  }
#endif
