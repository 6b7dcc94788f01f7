// The functions of activation.h in a kernel, float32.
#pragma once
#include "cuda/gpu_runtime.h"
#include "ops/activation/activation_cuda.h"

namespace octavo::cuda {

template <Gate kGate>
__device__ __forceinline__ float activated(float x) {
  if constexpr (kGate == Gate::silu) return x / (1.0f + __expf(-x));
  if constexpr (kGate == Gate::gelu_tanh) return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
  return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
}

}  // namespace octavo::cuda
