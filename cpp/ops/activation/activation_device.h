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

// What a gate and its factor make.
template <Gate kGate>
__device__ __forceinline__ float gated(float gate, float up, const Gating& gating) {
  if constexpr (kGate == Gate::clamped_swiglu) {
    const float bounded = gate > gating.limit ? gating.limit : gate;  // NaN stays NaN
    const float factor = up > gating.limit ? gating.limit : up < -gating.limit ? -gating.limit : up;
    return (factor + 1.0f) * bounded / (1.0f + __expf(-gating.alpha * bounded));
  } else {
    return activated<kGate>(gate) * up;
  }
}

}  // namespace octavo::cuda
