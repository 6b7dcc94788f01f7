#include <algorithm>

#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/reduce.h"
#include "ops/moe/moe_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

// A warp chooses a token's experts, one after the other.
template <typename T>
__global__ void choose_kernel(const T* logits, std::int64_t stride, std::int64_t num_tokens, int num_experts, int top_k, bool renormalise,
                              std::int32_t* ids, float* weights) {
  extern __shared__ float shared[];  // [kWarps][num_experts]
  const std::int64_t token = blockIdx.x * static_cast<std::int64_t>(kWarps) + threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  if (token >= num_tokens) return;
  float* left = shared + threadIdx.x / kWarpSize * num_experts;
  float top = -INFINITY, sum = 0.0f;
  for (int e = lane; e < num_experts; e += kWarpSize) {
    left[e] = to_float(logits[token * stride + e]);
    top = fmaxf(top, left[e]);
  }
  top = warp_max(top);
  for (int e = lane; e < num_experts; e += kWarpSize) sum += expf(left[e] - top);
  sum = warp_sum(sum);
  __syncwarp();
  float chosen_sum = 0.0f;
  for (int k = 0; k < top_k; ++k) {
    float best = -INFINITY;
    int best_id = num_experts;
    for (int e = lane; e < num_experts; e += kWarpSize) {
      if (left[e] > best || (best_id == num_experts && left[e] == best)) {
        best = left[e];
        best_id = e;
      }
    }
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, best, offset);
      const int other_id = __shfl_xor_sync(0xffffffffu, best_id, offset);
      if (other > best || (other == best && other_id < best_id)) {
        best = other;
        best_id = other_id;
      }
    }
    best_id = min(best_id, num_experts - 1);  // logits that are not numbers choose the last: what follows is not a number either
    const float weight = expf(best - top) / sum;
    chosen_sum += weight;
    if (lane == 0) {
      ids[token * top_k + k] = best_id;
      weights[token * top_k + k] = weight;
      left[best_id] = -INFINITY;
    }
    __syncwarp();
  }
  if (renormalise) {
    for (int k = lane; k < top_k; k += kWarpSize) weights[token * top_k + k] /= chosen_sum;
  }
}

constexpr int kSortThreads = 1024;

// The exclusive sums of counts[0 .. count - 1], by one warp, in place; returns the total.
__device__ std::int32_t exclusive_sums(std::int32_t* counts, int count) {
  const int lane = threadIdx.x % kWarpSize;
  std::int32_t before = 0;
  for (int first = 0; first < count; first += kWarpSize) {
    const std::int32_t own = first + lane < count ? counts[first + lane] : 0;
    std::int32_t sum = own;
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const std::int32_t other = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += other;
    }
    if (first + lane < count) counts[first + lane] = before + sum - own;
    before += __shfl_sync(0xffffffffu, sum, kWarpSize - 1);
  }
  return before;
}

// A counting sort by expert, in one block: a step's choices are few beside its products, and no other launch is needed.
__global__ void __launch_bounds__(kSortThreads)
    sort_kernel(const std::int32_t* ids, std::int32_t num_choices, int top_k, int num_experts, int tile_rows, SortedChoices sorted) {
  extern __shared__ std::int32_t memory[];
  std::int32_t *cursors = memory, *first_tiles = memory + num_experts;
  for (int e = threadIdx.x; e < num_experts; e += kSortThreads) cursors[e] = 0;
  __syncthreads();
  for (std::int32_t choice = threadIdx.x; choice < num_choices; choice += kSortThreads) atomicAdd(&cursors[ids[choice]], 1);
  __syncthreads();
  for (int e = threadIdx.x; e < num_experts; e += kSortThreads) first_tiles[e] = (cursors[e] + tile_rows - 1) / tile_rows;
  __syncthreads();
  if (threadIdx.x < kWarpSize) {
    const std::int32_t rows = exclusive_sums(cursors, num_experts), tiles = exclusive_sums(first_tiles, num_experts);
    if (threadIdx.x == 0) {
      sorted.offsets[num_experts] = rows;
      *sorted.num_tiles = tiles;
    }
  }
  __syncthreads();
  for (int e = threadIdx.x; e < num_experts; e += kSortThreads) {
    const std::int32_t begin = cursors[e], end = e + 1 < num_experts ? cursors[e + 1] : num_choices;
    sorted.offsets[e] = begin;
    ExpertTile* tile = sorted.tiles + first_tiles[e];
    for (std::int32_t row = begin; row < end; row += tile_rows) *tile++ = {e, row};
  }
  __syncthreads();
  for (std::int32_t choice = threadIdx.x; choice < num_choices; choice += kSortThreads) {
    const std::int32_t place = atomicAdd(&cursors[ids[choice]], 1);
    sorted.sources[place] = choice / top_k;
    sorted.places[choice] = place;
  }
}

// A thread makes kPack neighbouring columns of a token.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) combine_kernel(const T* rows, std::int64_t stride, const float* weights, int top_k,
                                                           const std::int32_t* places, T* y, std::int64_t y_stride, int cols) {
  const std::int64_t token = blockIdx.x;
  const int col = (blockIdx.y * kThreads + threadIdx.x) * kPack;
  if (col >= cols) return;
  float sums[kPack] = {};
  for (int k = 0; k < top_k; ++k) {
    const float weight = weights[token * top_k + k];
    const auto row = Pack<T, kPack>::load(rows + places[token * top_k + k] * stride + col);
#pragma unroll
    for (int i = 0; i < kPack; ++i) sums[i] += weight * row[i];
  }
  Pack<T, kPack> sum;
#pragma unroll
  for (int i = 0; i < kPack; ++i) sum.set(i, sums[i]);
  sum.store(y + token * y_stride + col);
}

constexpr std::int64_t aligned(std::int64_t count) { return (count + 31) / 32 * 32; }

unsigned blocks_of(std::int64_t count, int each) { return static_cast<unsigned>((count + each - 1) / each); }

}  // namespace

std::int64_t most_expert_tiles(std::int64_t num_choices, std::int64_t num_experts, std::int64_t tile_rows) {
  return num_choices / tile_rows + std::min(num_choices, num_experts);
}

std::int64_t SortedChoices::num_bytes(std::int64_t num_choices, std::int64_t num_experts) {
  return (2 * aligned(num_choices) + aligned(num_experts + 1) + aligned(1) +
          2 * aligned(most_expert_tiles(num_choices, num_experts, kFewestTileRows))) *
         4;
}

SortedChoices SortedChoices::in(void* memory, std::int64_t num_choices, std::int64_t num_experts) {
  auto* at = static_cast<std::int32_t*>(memory);
  const auto take = [&](std::int64_t count) {
    std::int32_t* found = at;
    at += aligned(count);
    return found;
  };
  SortedChoices arrays;
  arrays.sources = take(num_choices);
  arrays.places = take(num_choices);
  arrays.offsets = take(num_experts + 1);
  arrays.num_tiles = take(1);
  arrays.tiles = reinterpret_cast<ExpertTile*>(take(2 * most_expert_tiles(num_choices, num_experts, kFewestTileRows)));
  return arrays;
}

void route(const DeviceMatrix& router_logits, bool renormalise, const DeviceMatrix& ids, const DeviceMatrix& weights, Stream stream) {
  const std::int64_t num_tokens = router_logits.rows;
  const int num_experts = static_cast<int>(router_logits.cols), top_k = static_cast<int>(ids.cols);
  if (num_tokens == 0) return;
  dispatch_float(router_logits.type, "route", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    choose_kernel<T><<<blocks_of(num_tokens, kWarps), kThreads, kWarps * num_experts * sizeof(float), stream>>>(
        static_cast<const T*>(router_logits.data), router_logits.stride, num_tokens, num_experts, top_k, renormalise,
        static_cast<std::int32_t*>(ids.data), static_cast<float*>(weights.data));
  });
  check_launch("route");
}

void sort_choices(const DeviceMatrix& ids, std::int64_t num_experts, int tile_rows, const SortedChoices& sorted, Stream stream) {
  const std::int64_t num_choices = ids.rows * ids.cols;
  require(tile_rows >= kFewestTileRows, "sort_choices: tiles of ", tile_rows, " rows");
  if (num_choices == 0) return;
  sort_kernel<<<1, kSortThreads, static_cast<std::size_t>(2 * num_experts) * 4, stream>>>(
      static_cast<const std::int32_t*>(ids.data), static_cast<std::int32_t>(num_choices), static_cast<int>(ids.cols),
      static_cast<int>(num_experts), tile_rows, sorted);
  check_launch("sort_choices");
}

void combine(const DeviceMatrix& rows, const DeviceMatrix& weights, const SortedChoices& sorted, const DeviceMatrix& y, Stream stream) {
  if (y.rows == 0) return;
  dispatch_float(y.type, "combine", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto launch = [&](auto kernel, std::int64_t pack) {
      const dim3 grid(static_cast<unsigned>(y.rows), blocks_of(y.cols, static_cast<int>(kThreads * pack)));
      kernel<<<grid, kThreads, 0, stream>>>(static_cast<const T*>(rows.data), rows.stride, static_cast<const float*>(weights.data),
                                            static_cast<int>(weights.cols), sorted.places, static_cast<T*>(y.data), y.stride,
                                            static_cast<int>(y.cols));
    };
    if (rows.in_vectors() && y.in_vectors()) return launch(combine_kernel<T, kVectorElements<T>>, kVectorElements<T>);
    launch(combine_kernel<T, 1>, 1);
  });
  check_launch("combine");
}

}  // namespace octavo::cuda
