// Rows picked out on the device.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// y [L, E] = x[indices], 0 <= indices < x.rows.
void select_rows(const DeviceMatrix& x, const std::int32_t* indices, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
