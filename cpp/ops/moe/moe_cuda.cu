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

__global__ void count_kernel(const std::int32_t* ids, std::int64_t num_choices, std::int32_t* counts) {
  const std::int64_t choice = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  if (choice < num_choices) atomicAdd(&counts[ids[choice]], 1);
}

// Turns the counts into offsets, and sets the cursors to where each expert's rows begin.
__global__ void offsets_kernel(int num_experts, SortedChoices sorted) {
  if (threadIdx.x > 0) return;
  std::int32_t end = 0;
  for (int e = 0; e < num_experts; ++e) {
    const std::int32_t count = sorted.cursors[e];
    sorted.offsets[e] = sorted.cursors[e] = end;
    end += count;
  }
  sorted.offsets[num_experts] = end;
}

__global__ void place_kernel(const std::int32_t* ids, std::int64_t num_choices, int top_k, SortedChoices sorted) {
  const std::int64_t choice = blockIdx.x * static_cast<std::int64_t>(kThreads) + threadIdx.x;
  if (choice >= num_choices) return;
  const std::int32_t place = atomicAdd(&sorted.cursors[ids[choice]], 1);
  sorted.sources[place] = static_cast<std::int32_t>(choice / top_k);
  sorted.places[choice] = place;
}

template <typename T>
__global__ void combine_kernel(const T* rows, std::int64_t stride, const float* weights, int top_k, const std::int32_t* places, T* y,
                               std::int64_t y_stride, int cols) {
  const std::int64_t token = blockIdx.x;
  for (int col = threadIdx.x; col < cols; col += kThreads) {
    float sum = 0.0f;
    for (int k = 0; k < top_k; ++k) sum += weights[token * top_k + k] * to_float(rows[places[token * top_k + k] * stride + col]);
    y[token * y_stride + col] = from_float<T>(sum);
  }
}

constexpr std::int64_t aligned(std::int64_t count) { return (count + 31) / 32 * 32; }

unsigned blocks_of(std::int64_t count, int each) { return static_cast<unsigned>((count + each - 1) / each); }

}  // namespace

std::int64_t SortedChoices::num_bytes(std::int64_t num_choices, std::int64_t num_experts) {
  return (2 * aligned(num_choices) + 2 * aligned(num_experts + 1)) * 4;
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
  arrays.cursors = take(num_experts);
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

void sort_choices(const DeviceMatrix& ids, std::int64_t num_experts, const SortedChoices& sorted, Stream stream) {
  const std::int64_t num_choices = ids.rows * ids.cols;
  if (num_choices == 0) return;
  const auto* from = static_cast<const std::int32_t*>(ids.data);
  check(cudaMemsetAsync(sorted.cursors, 0, static_cast<std::size_t>(num_experts) * 4, stream), "routing");
  count_kernel<<<blocks_of(num_choices, kThreads), kThreads, 0, stream>>>(from, num_choices, sorted.cursors);
  offsets_kernel<<<1, 32, 0, stream>>>(static_cast<int>(num_experts), sorted);
  place_kernel<<<blocks_of(num_choices, kThreads), kThreads, 0, stream>>>(from, num_choices, static_cast<int>(ids.cols), sorted);
  check_launch("sort_choices");
}

void combine(const DeviceMatrix& rows, const DeviceMatrix& weights, const SortedChoices& sorted, const DeviceMatrix& y, Stream stream) {
  if (y.rows == 0) return;
  dispatch_float(y.type, "combine", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    combine_kernel<T><<<static_cast<unsigned>(y.rows), kThreads, 0, stream>>>(
        static_cast<const T*>(rows.data), rows.stride, static_cast<const float*>(weights.data), static_cast<int>(weights.cols),
        sorted.places, static_cast<T*>(y.data), y.stride, static_cast<int>(y.cols));
  });
  check_launch("combine");
}

}  // namespace octavo::cuda
