// Elementwise ops on the device; formulas in activation.h. Computed in float32, rounded once.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

enum class Gate { silu, gelu_tanh, gelu_erf };

// y [T, F] = act(x[:, :F]) * x[:, F:] of x [T, 2F].
void gate_and_mul(Gate gate, const DeviceMatrix& x, const DeviceMatrix& y, Stream stream);
void add(const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream);
// y = x * sigmoid(gate), gate [T, 1].
void sigmoid_gate(const DeviceMatrix& x, const DeviceMatrix& gate, const DeviceMatrix& y, Stream stream);
// y = cap * tanh(x / cap).
void softcap(const DeviceMatrix& x, float cap, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
