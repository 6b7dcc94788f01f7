// Rows of tables on the device.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// y [T, E] = table[token_ids] * scale. A negative id ~r stands for last_ids[r]: a token that the host has not seen yet.
void embedding(const std::int32_t* token_ids, const std::int32_t* last_ids, const DeviceMatrix& table, float scale, const DeviceMatrix& y,
               Stream stream);

}  // namespace octavo::cuda
