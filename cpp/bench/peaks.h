// Loops that nothing but the processor holds up, one copy per instruction set: the ceilings are their rates.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo::bench {

// A loop over independent chains of one instruction in registers.
struct Peak {
  double operations_per_repeat;  // a multiplication and an addition are two
  std::int64_t (*run)(
      std::int64_t repeats);  // the result depends on every chain, so that none is optimised away; null: no such instruction
};

struct Peaks {
  Peak fma;                                                  // float32 fused multiply-add
  Peak int8_dot;                                             // dot products of 8-bit integers
  std::int64_t (*read)(const void* from, std::size_t size);  // every byte once; size: a multiple of 2048
};

}  // namespace octavo::bench

namespace octavo {
using bench::Peaks;
OCTAVO_DECLARE_ISA_TABLE(Peaks, peaks)
}  // namespace octavo
