#pragma once
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo {

struct RotaryKernels {
  void (*rotate)(const float* x, const float* cos, const float* sin, float* y, int half);  // one head's 2 * half columns
};

OCTAVO_DECLARE_ISA_TABLE(RotaryKernels, rotary_kernels)

}  // namespace octavo
