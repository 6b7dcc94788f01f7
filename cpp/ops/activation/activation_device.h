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

// The same with the gate known at run time: a branch that all threads take alike, where an instance for each gate would not pay.
__device__ __forceinline__ float gated_by(const Gating& gating, float gate, float up) {
  switch (gating.gate) {
    case Gate::silu:
      return gated<Gate::silu>(gate, up, gating);
    case Gate::gelu_tanh:
      return gated<Gate::gelu_tanh>(gate, up, gating);
    case Gate::gelu_erf:
      return gated<Gate::gelu_erf>(gate, up, gating);
    default:
      return gated<Gate::clamped_swiglu>(gate, up, gating);
  }
}

}  // namespace octavo::cuda
