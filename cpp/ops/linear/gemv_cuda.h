// Products of a few rows with a weight matrix: bound by reading the weights once.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

constexpr std::int64_t kMostGemvRows = 4;

// What a product takes along. Null: nothing.
struct GemvExtras {
  const float* bias = nullptr;          // float32 [N]
  const DeviceMatrix* added = nullptr;  // [T, N] of y's type, which may be y itself
  const float* norm_weight = nullptr;   // float32 [K]: x is normalised by its root mean square first (norm.h); bf16 and fp16
  float eps = 0.0f;
  bool gated = false;  // y [T, N / 2] = silu(first half) * second half; with norm_weight alone
};

// Whether gemv takes these operands: rows up to kMostGemvRows, read in pieces of 16 bytes.
bool gemv_takes(const DeviceMatrix& x, const DeviceMatrix& weight);

// y [T, N] = norm(x) [T, K] @ weight [N, K]^T + bias + added; x and weight of one type, y of it or, without a norm, float32.
void gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const GemvExtras& extras, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
