#include <algorithm>

#include "cuda/element.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "ops/moe/moe_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

struct Best {
  float value;
  int id;
};

// The greatest of a warp's values, of equal ones that of the lower id.
__device__ Best best_of_warp(Best best) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float value = __shfl_xor_sync(0xffffffffu, best.value, offset);
    const int id = __shfl_xor_sync(0xffffffffu, best.id, offset);
    if (value > best.value || (value == best.value && id < best.id)) best = {value, id};
  }
  return best;
}

// The greatest of values[0 .. count - 1]; count where all are -inf or not a number.
__device__ Best find_best(const float* values, int count) {
  Best best{-INFINITY, count};
  for (int i = threadIdx.x % kWarpSize; i < count; i += kWarpSize) {
    if (values[i] > best.value) best = {values[i], i};
  }
  return best_of_warp(best);
}

// A warp chooses a token's experts, one after the other. logits and ranks [X] are its own, in shared memory.
struct Chooser {
  const Routing& routing;
  int num_experts, top_k, lane;
  float *logits, *ranks;
  std::int32_t* ids;
  float* weights;

  __device__ bool chooses_by_logits() const { return !routing.bias && (routing.num_groups == 1 || routing.group_best == 1); }

  __device__ void run() {
    const float shift = greatest();
    const float sum = routing.scoring == Scoring::softmax ? total(shift) : 1.0f;
    rank(shift, sum);
    if (routing.num_groups > 1) keep_best_groups();
    float chosen = 0.0f;
    for (int k = 0; k < top_k; ++k) {
      // Logits that are not numbers choose the last: what follows is not a number either.
      const Best best = find_best(ranks, num_experts);
      const int id = min(best.id, num_experts - 1);
      const float weight = routing.scoring == Scoring::sparsemixer ? mixed(best.value) : score(logits[id], shift, sum);
      chosen += weight;
      __syncwarp();
      if (lane == 0) {
        ids[k] = id;
        weights[k] = weight;
        ranks[id] = -INFINITY;
      }
      __syncwarp();
    }
    if (routing.scoring == Scoring::sparsemixer) return;
    const float divisor = routing.renormalise ? (chosen < routing.least_sum ? routing.least_sum : chosen) : 1.0f;
    for (int k = lane; k < top_k; k += kWarpSize) weights[k] = weights[k] / divisor * routing.scale;
  }

  __device__ float greatest() const {
    float top = -INFINITY;
    for (int e = lane; e < num_experts; e += kWarpSize) top = fmaxf(top, logits[e]);
    return warp_max(top);
  }
  __device__ float total(float shift) const {
    float sum = 0.0f;
    for (int e = lane; e < num_experts; e += kWarpSize) sum += expf(logits[e] - shift);
    return warp_sum(sum);
  }
  __device__ float score(float logit, float shift, float sum) const {
    return routing.scoring == Scoring::softmax ? expf(logit - shift) / sum : 1.0f / (1.0f + expf(-logit));
  }
  __device__ void rank(float shift, float sum) {
    const bool by_logits = chooses_by_logits() || routing.scoring == Scoring::sparsemixer;
    for (int e = lane; e < num_experts; e += kWarpSize)
      ranks[e] = by_logits ? logits[e] : score(logits[e], shift, sum) + (routing.bias ? routing.bias[e] : 0.0f);
    __syncwarp();
  }
  // What is taken has rank -inf, and `best` is the greatest of the rest.
  __device__ float mixed(float best) const {
    float sum = 0.0f;
    for (int e = lane; e < num_experts; e += kWarpSize) {
      const float distance = (best - logits[e]) / fmaxf(fabsf(logits[e]), best);
      if (ranks[e] != -INFINITY && !(distance > 2.0f * routing.jitter)) sum += expf(logits[e] - best);
    }
    return 1.0f / warp_sum(sum);
  }
  // What a group is worth: the sum of its greatest ranks, the first of them first.
  __device__ float worth(const float* members, int size) const {
    Best last{INFINITY, -1};
    float sum = 0.0f;
    for (int taken = 0; taken < routing.group_best; ++taken) {
      Best best{-INFINITY, size};
      for (int i = 0; i < size; ++i) {
        const bool later = members[i] < last.value || (members[i] == last.value && i > last.id);
        if (later && members[i] > best.value) best = {members[i], i};
      }
      sum += best.value;
      last = best;
    }
    return sum;
  }
  // A lane looks after a group: it stays where fewer than top_groups others are better.
  __device__ void keep_best_groups() {
    const int size = num_experts / routing.num_groups;
    float* members = ranks + lane * size;
    const bool real = lane < routing.num_groups;
    const float own = real ? worth(members, size) : 0.0f;
    int better = 0;
    for (int other = 0; other < routing.num_groups; ++other) {
      const float value = __shfl_sync(0xffffffffu, own, other);
      better += value > own || (value == own && other < lane);
    }
    if (real && better >= routing.top_groups) {
      for (int i = 0; i < size; ++i) members[i] = -INFINITY;
    }
    __syncwarp();
  }
};

constexpr int kMostGroups = kWarpSize;

template <typename T>
__global__ void choose_kernel(const T* logits, std::int64_t stride, std::int64_t num_tokens, int num_experts, int top_k, Routing routing,
                              std::int32_t* ids, float* weights) {
  extern __shared__ float shared[];  // [warps][2][num_experts]
  let_next_start();
  wait_for_previous();
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const std::int64_t token = blockIdx.x * static_cast<std::int64_t>(blockDim.x / kWarpSize) + warp;
  if (token >= num_tokens) return;
  float* own = shared + 2 * warp * num_experts;
  for (int e = lane; e < num_experts; e += kWarpSize) own[e] = to_float(logits[token * stride + e]);
  __syncwarp();
  Chooser{routing, num_experts, top_k, lane, own, own + num_experts, ids + token * top_k, weights + token * top_k}.run();
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
__global__ void __launch_bounds__(kSortThreads) sort_kernel(const std::int32_t* ids, const float* weights, std::int32_t num_choices,
                                                            int top_k, int num_experts, int tile_rows, SortedChoices sorted) {
  let_next_start();
  wait_for_previous();
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
    sorted.weights[place] = weights[choice];
  }
}

// A thread makes kPack neighbouring columns of a token.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) combine_kernel(const T* rows, std::int64_t stride, const float* weights, int top_k,
                                                           const std::int32_t* places, T* y, std::int64_t y_stride, int cols) {
  let_next_start();
  wait_for_previous();
  const std::int64_t token = blockIdx.x;
  const int col = (blockIdx.y * kThreads + threadIdx.x) * kPack;
  if (col >= cols) return;
  float sums[kPack] = {};
  for (int k = 0; k < top_k; ++k) {
    const float weight = weights ? weights[token * top_k + k] : 1.0f;
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
  return (3 * aligned(num_choices) + aligned(num_experts + 1) + aligned(1) +
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
  arrays.weights = reinterpret_cast<float*>(take(num_choices));
  arrays.offsets = take(num_experts + 1);
  arrays.num_tiles = take(1);
  arrays.tiles = reinterpret_cast<ExpertTile*>(take(2 * most_expert_tiles(num_choices, num_experts, kFewestTileRows)));
  return arrays;
}

void route(const DeviceMatrix& router_logits, const Routing& routing, const DeviceMatrix& ids, const DeviceMatrix& weights, Stream stream) {
  const std::int64_t num_tokens = router_logits.rows;
  const int num_experts = static_cast<int>(router_logits.cols), top_k = static_cast<int>(ids.cols);
  constexpr int kSharedBytes = 48 << 10;
  const int bytes = 2 * num_experts * static_cast<int>(sizeof(float)), warps = std::min(kWarps, kSharedBytes / bytes);
  require(warps >= 1 && routing.num_groups <= kMostGroups, "route: ", num_experts, " experts in ", routing.num_groups, " groups, at most ",
          kSharedBytes / 8, " in ", kMostGroups);
  if (num_tokens == 0) return;
  dispatch_float(router_logits.type, "route", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch_kernel(choose_kernel<T>, blocks_of(num_tokens, warps), warps * kWarpSize, static_cast<std::size_t>(warps * bytes), stream,
                  static_cast<const T*>(router_logits.data), router_logits.stride, num_tokens, num_experts, top_k, routing,
                  static_cast<std::int32_t*>(ids.data), static_cast<float*>(weights.data));
  });
}

void sort_choices(const DeviceMatrix& ids, const DeviceMatrix& weights, std::int64_t num_experts, int tile_rows,
                  const SortedChoices& sorted, Stream stream) {
  const std::int64_t num_choices = ids.rows * ids.cols;
  require(tile_rows >= kFewestTileRows, "sort_choices: tiles of ", tile_rows, " rows");
  if (num_choices == 0) return;
  launch_kernel(sort_kernel, 1, kSortThreads, static_cast<std::size_t>(2 * num_experts) * 4, stream,
                static_cast<const std::int32_t*>(ids.data), static_cast<const float*>(weights.data), static_cast<std::int32_t>(num_choices),
                static_cast<int>(ids.cols), static_cast<int>(num_experts), tile_rows, sorted);
}

void combine(const DeviceMatrix& rows, const DeviceMatrix& weights, bool weighed, const SortedChoices& sorted, const DeviceMatrix& y,
             Stream stream) {
  if (y.rows == 0) return;
  dispatch_float(y.type, "combine", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto launch = [&](auto kernel, std::int64_t pack) {
      const dim3 grid(static_cast<unsigned>(y.rows), blocks_of(y.cols, static_cast<int>(kThreads * pack)));
      launch_kernel(kernel, grid, kThreads, 0, stream, static_cast<const T*>(rows.data), rows.stride,
                    weighed ? nullptr : static_cast<const float*>(weights.data), static_cast<int>(weights.cols), sorted.places,
                    static_cast<T*>(y.data), y.stride, static_cast<int>(y.cols));
    };
    if (rows.in_vectors() && y.in_vectors()) return launch(combine_kernel<T, kVectorElements<T>>, kVectorElements<T>);
    launch(combine_kernel<T, 1>, 1);
  });
}

}  // namespace octavo::cuda
