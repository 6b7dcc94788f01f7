// Products of our own on tensor cores (float32: on the ordinary units), for machines without cuBLAS and for groups of experts.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// y [T, N] = x [T, K] @ weight [N, K]^T + bias; x and weight of one type, y of it or float32; bias: float32 [N] or null.
void tiled_product(const DeviceMatrix& x, const DeviceMatrix& weight, const float* bias, const DeviceMatrix& y, Stream stream);

// Rows sorted by expert: rows offsets[e] .. offsets[e + 1] - 1 of y are those of expert e. All on the device.
struct ExpertRows {
  const std::int32_t* offsets = nullptr;  // [X + 1]
  const std::int32_t* sources = nullptr;  // [n] the row of x for each row of y; null: the row of the same number
  const float* scales = nullptr;          // [n] of the rows of x; null: 1
  std::int64_t most_rows = 0;             // of one expert
};

// One matrix [N, K] for each expert.
struct GroupedWeights {
  const void* const* pointers = nullptr;  // [X] on the device
  std::int64_t num_experts = 0;
  DeviceMatrix first;           // shape, stride and type of all of them
  const float* bias = nullptr;  // [X, N]; null: none
};

// y[i] = scales[i] * x[sources[i]] @ weights[e]^T + bias[e] for the rows of each expert e.
void grouped_product(const DeviceMatrix& x, const GroupedWeights& weights, const ExpertRows& rows, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
