// Products of a few rows with a weight matrix: bound by reading the weights once.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

constexpr std::int64_t kMostGemvRows = 4;

// Whether gemv takes these operands: rows up to kMostGemvRows, read in pieces of 16 bytes.
bool gemv_takes(const DeviceMatrix& x, const DeviceMatrix& weight);

// y [T, N] = x [T, K] @ weight [N, K]^T + bias + added; x and weight of one type, y of it or float32; bias: float32 [N] or null; added: of
// y's type, which may be y itself, or null.
void gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const float* bias, const DeviceMatrix* added, const DeviceMatrix& y,
          Stream stream);

}  // namespace octavo::cuda
