// Elementwise ops on the device; formulas in activation.h. Computed in float32, rounded once.
#pragma once
#include <type_traits>

#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

enum class Gate { silu, gelu_tanh, gelu_erf, clamped_swiglu };

struct Gating {
  Gate gate = Gate::silu;
  float alpha = 0.0f, limit = 0.0f;  // of clamped_swiglu

  Gating(Gate gate) : gate(gate) {}  // NOLINT: a gate without settings is one
  Gating(Gate gate, float alpha, float limit) : gate(gate), alpha(alpha), limit(limit) {}
};

// Calls f with the gate as a constant: dispatch_gate(gate, [&](auto tag) { constexpr Gate kGate = tag.value; ... }).
template <typename F>
void dispatch_gate(Gate gate, F&& f) {
  switch (gate) {
    case Gate::silu:
      return f(std::integral_constant<Gate, Gate::silu>{});
    case Gate::gelu_tanh:
      return f(std::integral_constant<Gate, Gate::gelu_tanh>{});
    case Gate::gelu_erf:
      return f(std::integral_constant<Gate, Gate::gelu_erf>{});
    case Gate::clamped_swiglu:
      return f(std::integral_constant<Gate, Gate::clamped_swiglu>{});
  }
}

// y [T, F] = act(x[:, :F]) * x[:, F:] of x [T, 2F].
void gate_and_mul(const Gating& gating, const DeviceMatrix& x, const DeviceMatrix& y, Stream stream);
enum class Activation { gelu, gelu_tanh, quick_gelu, silu, relu, relu_squared, sigmoid, tanh };

// y = act(x), y = factor * x; y may be x.
void activate(Activation activation, const DeviceMatrix& x, const DeviceMatrix& y, Stream stream);
void scale(const DeviceMatrix& x, float factor, const DeviceMatrix& y, Stream stream);
void add(const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream);
void mul(const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream);
// y = x * sigmoid(gate), gate [T, 1].
void sigmoid_gate(const DeviceMatrix& x, const DeviceMatrix& gate, const DeviceMatrix& y, Stream stream);
// y = cap * tanh(x / cap).
void softcap(const DeviceMatrix& x, float cap, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
