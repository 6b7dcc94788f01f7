// A matrix for each head on the device; formula in head_linear.h.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// x [T, H * K], w [H * K, N], y [T, H * N], all of one type and y overlapping nothing. Sums are float32, k ascending.
void head_linear(const DeviceMatrix& x, const DeviceMatrix& w, std::int64_t num_heads, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
