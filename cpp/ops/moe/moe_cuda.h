// Mixtures of experts on the device: routing, products grouped by expert, combination. Formulas in route.h and experts.h.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"
#include "ops/moe/routing.h"

namespace octavo::cuda {

// router_logits [T, X] of any float type -> ids int32 [T, K], weights float32 [T, K]; see route.h. The bias is on the device.
void route(const DeviceMatrix& router_logits, const Routing& routing, const DeviceMatrix& ids, const DeviceMatrix& weights, Stream stream);

// Neighbouring rows of one expert that a block computes together.
struct ExpertTile {
  std::int32_t expert;
  std::int32_t first_row;
};
constexpr int kFewestTileRows = 16;
// Whatever the router chose.
std::int64_t most_expert_tiles(std::int64_t num_choices, std::int64_t num_experts, std::int64_t tile_rows);

// Which expert computes which row: n = T * K rows, sorted by expert, those of one expert in no order that matters.
struct SortedChoices {
  std::int32_t* offsets = nullptr;    // [X + 1] rows offsets[e] .. offsets[e + 1] - 1 are those of expert e
  std::int32_t* sources = nullptr;    // [n] the token of each sorted row
  std::int32_t* places = nullptr;     // [T, K] the sorted row of each choice
  float* weights = nullptr;           // [n] of each sorted row
  ExpertTile* tiles = nullptr;        // [num_tiles] by expert
  std::int32_t* num_tiles = nullptr;  // [1]

  static std::int64_t num_bytes(std::int64_t num_choices, std::int64_t num_experts);
  static SortedChoices in(void* memory, std::int64_t num_choices, std::int64_t num_experts);
};

// ids, weights [T, K] -> the rest, with tiles of `tile_rows` rows, from kFewestTileRows on.
void sort_choices(const DeviceMatrix& ids, const DeviceMatrix& weights, std::int64_t num_experts, int tile_rows,
                  const SortedChoices& sorted, Stream stream);

// y[t] = sum over k of weights[t, k] * rows[places[t, k]], k ascending; every weight is 1 where the inputs were weighed.
void combine(const DeviceMatrix& rows, const DeviceMatrix& weights, bool weighed, const SortedChoices& sorted, const DeviceMatrix& y,
             Stream stream);

}  // namespace octavo::cuda
