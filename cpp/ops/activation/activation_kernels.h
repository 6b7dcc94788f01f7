#pragma once
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo {

struct ActivationKernels {
  void (*silu_and_mul)(const float* gate, const float* up, float* y, std::int64_t count);
  void (*gelu_and_mul)(const float* gate, const float* up, float* y, std::int64_t count);
  void (*gelu_tanh_and_mul)(const float* gate, const float* up, float* y, std::int64_t count);
  void (*clamped_swiglu)(const float* gate, const float* up, float alpha, float limit, float* y, std::int64_t count);
  void (*gelu)(const float* x, float* y, std::int64_t count);
  void (*gelu_tanh)(const float* x, float* y, std::int64_t count);
  void (*quick_gelu)(const float* x, float* y, std::int64_t count);
  void (*silu)(const float* x, float* y, std::int64_t count);
  void (*relu)(const float* x, float* y, std::int64_t count);
  void (*relu_squared)(const float* x, float* y, std::int64_t count);
  void (*tanh_of)(const float* x, float* y, std::int64_t count);
  void (*scale)(const float* x, float factor, float* y, std::int64_t count);
  void (*sigmoid)(const float* x, float* y, std::int64_t count);
  void (*mul)(const float* x, const float* y, float* out, std::int64_t count);
  void (*add)(const float* x, const float* y, float* out, std::int64_t count);
  void (*sigmoid_gate)(const float* x, float gate, float* y, std::int64_t count);
  void (*softcap)(const float* x, float cap, float* y, std::int64_t count);
};

OCTAVO_DECLARE_ISA_TABLE(ActivationKernels, activation_kernels)

}  // namespace octavo
