// Experts of a few tokens: bound by reading the matrices of the chosen experts, a warp to an output.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"
#include "ops/activation/activation_cuda.h"
#include "ops/linear/tiled_cuda.h"

namespace octavo::cuda {

constexpr std::int64_t kMostFewTokens = 4;

// Whether few_token_experts takes these operands: up to kMostFewTokens rows, read in pieces of 16 bytes.
bool few_tokens_take(const DeviceMatrix& x, const GroupedWeights& gate_up, const GroupedWeights& down);

// hidden [T * K, F] = act(gate_e(x[t])) * up_e(x[t]) for each choice (t, k) of expert e = ids[t, k]; then
// y[t] = sum over k of weights[t, k] * down_e(hidden[t, k]). `weighs`: the weights are those of x instead.
void few_token_experts(const Gating& gating, bool weighs, const DeviceMatrix& x, const DeviceMatrix& ids, const DeviceMatrix& weights,
                       const GroupedWeights& gate_up, const GroupedWeights& down, const DeviceMatrix& hidden, const DeviceMatrix& y,
                       Stream stream);

}  // namespace octavo::cuda
