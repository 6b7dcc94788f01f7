#pragma once
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo {

struct ActivationKernels {
  void (*silu_and_mul)(const float* gate, const float* up, float* y, std::int64_t count);
  void (*gelu_and_mul)(const float* gate, const float* up, float* y, std::int64_t count);
  void (*gelu_tanh_and_mul)(const float* gate, const float* up, float* y, std::int64_t count);
  void (*add)(const float* x, const float* y, float* out, std::int64_t count);
  void (*sigmoid_gate)(const float* x, float gate, float* y, std::int64_t count);
  void (*softcap)(const float* x, float cap, float* y, std::int64_t count);
};

OCTAVO_DECLARE_ISA_TABLE(ActivationKernels, activation_kernels)

}  // namespace octavo
