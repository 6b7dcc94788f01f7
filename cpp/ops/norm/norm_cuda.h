// Root mean square normalisation on the device; formulas in norm.h. Sums are float32, in an order that the group's size decides.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// y [T, n * G] of x [T, n * G], both of one type; weight: float32 [G].
void rms_norm(const DeviceMatrix& x, const float* weight, std::int64_t group, float eps, const DeviceMatrix& y, Stream stream);

// sum = x + residual; y = rms_norm(sum). All [T, G]; sum may be x or residual. y is computed from the sum before it is rounded.
void add_rms_norm(const DeviceMatrix& x, const DeviceMatrix& residual, const float* weight, float eps, const DeviceMatrix& y,
                  const DeviceMatrix& sum, Stream stream);

// y = (x - mean) / sqrt(variance + eps) * weight + bias over groups of G columns; bias float32 [G] or null. See norm.h.
void layer_norm(const DeviceMatrix& x, const float* weight, const float* bias, std::int64_t group, float eps, const DeviceMatrix& y,
                Stream stream);

}  // namespace octavo::cuda
