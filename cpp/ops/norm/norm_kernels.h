#pragma once
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo {

struct NormKernels {
  void (*rms_norm)(const float* x, const float* weight, float eps, float* y, std::int64_t count);                       // one group
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* y, std::int64_t count);  // bias: or null
  void (*add)(const float* x, const float* residual, float* sum, std::int64_t count);
};

OCTAVO_DECLARE_ISA_TABLE(NormKernels, norm_kernels)

}  // namespace octavo
