// The rate of fused multiply-adds that nothing holds up: independent chains in registers.
#pragma once
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo::bench {

struct FmaPeak {
  std::int64_t flops_per_repeat;
  float (*run)(std::int64_t repeats);  // the result depends on every chain, so that none is optimised away
};

}  // namespace octavo::bench

namespace octavo {
using bench::FmaPeak;
OCTAVO_DECLARE_ISA_TABLE(FmaPeak, fma_peak)
}  // namespace octavo
