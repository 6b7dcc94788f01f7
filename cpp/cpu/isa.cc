#include "cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "base/error.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace octavo::cpu {
namespace {

std::vector<Isa> detect() {
  std::vector<Isa> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
#if OCTAVO_HAVE_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
    found.push_back(Isa::avx512);
  }
#endif
#if OCTAVO_HAVE_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(Isa::avx2);
#endif
#elif defined(__aarch64__)
#if OCTAVO_HAVE_NEON_DOT && defined(HWCAP_ASIMDDP)
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) found.push_back(Isa::neon_dot);
#endif
#if OCTAVO_HAVE_NEON
  found.push_back(Isa::neon);
#endif
#elif OCTAVO_HAVE_VSX && defined(__powerpc64__)
  if (__builtin_cpu_supports("arch_3_00")) found.push_back(Isa::vsx);
#endif
#if OCTAVO_HAVE_PORTABLE
  found.push_back(Isa::portable);
#endif
  if (found.empty())
    throw std::runtime_error("the kernels were built for another processor only (OCTAVO_CPU=native): build Octavo again here");
  return found;
}

Isa initial() {
  const char* wanted = std::getenv("OCTAVO_ISA");
  return wanted && *wanted ? isa_from_name(wanted) : available_isas().front();
}

Isa& current() {
  static Isa isa = initial();
  return isa;
}

}  // namespace

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::neon_dot:
      return "neon_dot";
    case Isa::neon:
      return "neon";
    case Isa::vsx:
      return "vsx";
    default:
      return "portable";
  }
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

Isa isa_from_name(const std::string& name) {
  std::string names;
  for (Isa isa : available_isas()) {
    if (name == name_of(isa)) return isa;
    names += std::string(names.empty() ? "" : ", ") + name_of(isa);
  }
  throw std::invalid_argument(concat("instruction set ", name, " is not available here; OCTAVO_ISA can be one of: ", names));
}

Isa active_isa() { return current(); }

void set_active_isa(Isa isa) { current() = isa; }

}  // namespace octavo::cpu
