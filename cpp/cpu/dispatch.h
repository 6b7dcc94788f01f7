// Picks the copy of a kernel table that was compiled for the active instruction set.
//
// A kernel file ops/<op>/<op>_cpu.cc defines `const Table& name()` in namespace octavo::OCTAVO_ISA. The op declares the copies
// with OCTAVO_DECLARE_ISA_TABLE(Table, name) at namespace octavo and calls octavo::name(isa).
#pragma once
#include "cpu/isa.h"

#if OCTAVO_HAVE_AVX512
#define OCTAVO_ISA_DECL_AVX512(Table, name) \
  namespace isa_avx512 {                    \
  const Table& name();                      \
  }
#define OCTAVO_ISA_CASE_AVX512(name) \
  case cpu::Isa::avx512:             \
    return isa_avx512::name();
#else
#define OCTAVO_ISA_DECL_AVX512(Table, name)
#define OCTAVO_ISA_CASE_AVX512(name)
#endif
#if OCTAVO_HAVE_AVX2
#define OCTAVO_ISA_DECL_AVX2(Table, name) \
  namespace isa_avx2 {                    \
  const Table& name();                    \
  }
#define OCTAVO_ISA_CASE_AVX2(name) \
  case cpu::Isa::avx2:             \
    return isa_avx2::name();
#else
#define OCTAVO_ISA_DECL_AVX2(Table, name)
#define OCTAVO_ISA_CASE_AVX2(name)
#endif
#if OCTAVO_HAVE_NEON_DOT
#define OCTAVO_ISA_DECL_NEON_DOT(Table, name) \
  namespace isa_neon_dot {                    \
  const Table& name();                        \
  }
#define OCTAVO_ISA_CASE_NEON_DOT(name) \
  case cpu::Isa::neon_dot:             \
    return isa_neon_dot::name();
#else
#define OCTAVO_ISA_DECL_NEON_DOT(Table, name)
#define OCTAVO_ISA_CASE_NEON_DOT(name)
#endif
#if OCTAVO_HAVE_NEON
#define OCTAVO_ISA_DECL_NEON(Table, name) \
  namespace isa_neon {                    \
  const Table& name();                    \
  }
#define OCTAVO_ISA_CASE_NEON(name) \
  case cpu::Isa::neon:             \
    return isa_neon::name();
#else
#define OCTAVO_ISA_DECL_NEON(Table, name)
#define OCTAVO_ISA_CASE_NEON(name)
#endif
#if OCTAVO_HAVE_VSX
#define OCTAVO_ISA_DECL_VSX(Table, name) \
  namespace isa_vsx {                    \
  const Table& name();                   \
  }
#define OCTAVO_ISA_CASE_VSX(name) \
  case cpu::Isa::vsx:             \
    return isa_vsx::name();
#else
#define OCTAVO_ISA_DECL_VSX(Table, name)
#define OCTAVO_ISA_CASE_VSX(name)
#endif

#if OCTAVO_HAVE_PORTABLE
#define OCTAVO_ISA_DECL_PORTABLE(Table, name) \
  namespace isa_portable {                    \
  const Table& name();                        \
  }
#define OCTAVO_ISA_CASE_PORTABLE(name) \
  case cpu::Isa::portable:             \
    return isa_portable::name();
#else
#define OCTAVO_ISA_DECL_PORTABLE(Table, name)
#define OCTAVO_ISA_CASE_PORTABLE(name)
#endif

#define OCTAVO_DECLARE_ISA_TABLE(Table, name)                           \
  OCTAVO_ISA_DECL_AVX512(Table, name)                                   \
  OCTAVO_ISA_DECL_AVX2(Table, name)                                     \
  OCTAVO_ISA_DECL_NEON_DOT(Table, name)                                 \
  OCTAVO_ISA_DECL_NEON(Table, name)                                     \
  OCTAVO_ISA_DECL_VSX(Table, name)                                      \
  OCTAVO_ISA_DECL_PORTABLE(Table, name)                                 \
  inline const Table& name(cpu::Isa isa) {                              \
    switch (isa) {                                                      \
      OCTAVO_ISA_CASE_AVX512(name)                                      \
      OCTAVO_ISA_CASE_AVX2(name)                                        \
      OCTAVO_ISA_CASE_NEON_DOT(name)                                    \
      OCTAVO_ISA_CASE_NEON(name)                                        \
      OCTAVO_ISA_CASE_VSX(name)                                         \
      OCTAVO_ISA_CASE_PORTABLE(name)                                    \
      default: /* available_isas() has what was compiled in, no more */ \
        __builtin_unreachable();                                        \
    }                                                                   \
  }
