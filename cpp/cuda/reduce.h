// Reductions over the lanes of a warp and the warps of a block. The warp's width is a template parameter: 32 on NVIDIA, 64 elsewhere.
#pragma once
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

constexpr int kWarpSize = 32;

template <int kWidth = kWarpSize>
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = kWidth / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset, kWidth);
  return x;
}

template <int kWidth = kWarpSize>
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = kWidth / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset, kWidth));
  return x;
}

// The sum over all threads of the block, in every thread. A fixed order: the same bits whatever the batch.
template <int kThreads, int kWidth = kWarpSize>
__device__ __forceinline__ float block_sum(float x) {
  constexpr int kWarps = kThreads / kWidth;
  x = warp_sum<kWidth>(x);
  if constexpr (kWarps > 1) {
    __shared__ float sums[kWarps];
    __syncthreads();  // a sum before this one may still be read
    if (threadIdx.x % kWidth == 0) sums[threadIdx.x / kWidth] = x;
    __syncthreads();
    x = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) x += sums[warp];
  }
  return x;
}

}  // namespace octavo::cuda
