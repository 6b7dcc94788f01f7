// Products of rows sorted by expert with each expert's matrix, on tensor cores. Elements of 16 bits; float32 takes ops/linear/tiled_cuda.h.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"
#include "ops/activation/activation_cuda.h"
#include "ops/linear/tiled_cuda.h"
#include "ops/moe/moe_cuda.h"

namespace octavo::cuda {

// Whether the tensor cores' kernels take these matrices: 16-bit elements, rows read in pieces of 16 bytes. Rows of x must be so too.
bool grouped_takes(const GroupedWeights& weights);

// Rows of a tile for this many choices: sort_choices lists the tiles, the products compute them. Few rows leave tensor cores idle, but
// then the weights' bytes are what takes time, and a tile that holds all of an expert's rows reads them once.
int tile_rows(std::int64_t num_choices, std::int64_t num_experts);

// y[i] = x[i] @ weights[e]^T + bias[e] for the rows of each expert e. The launch before it is the gated product of the same tiles, which
// it reads before that has ended.
void grouped_product(const DeviceMatrix& x, const GroupedWeights& weights, const SortedChoices& sorted, int tile_rows,
                     const DeviceMatrix& y, Stream stream);

// y[i] = act(g) * u with g, u the halves of x[sources[i]] @ weights[e]^T + bias[e]; `weighs`: of x times the sorted row's weight.
void gated_grouped_product(const Gating& gating, bool weighs, const DeviceMatrix& x, const GroupedWeights& weights,
                           const SortedChoices& sorted, int tile_rows, const DeviceMatrix& y, Stream stream);

}  // namespace octavo::cuda
