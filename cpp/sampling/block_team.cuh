// A block of a GPU as the team that sampling/device_select.h asks for. The warp's width is a template parameter.
#pragma once
#include <cstdint>

#include "cuda/gpu_runtime.h"
#include "cuda/reduce.h"

namespace octavo::cuda {

template <int kThreads, int kWidth = kWarpSize>
struct BlockTeam {
  static constexpr int kWarps = kThreads / kWidth;
  using Mask = unsigned int;  // of lanes; 64 bits where warps are 64 wide
  static constexpr Mask kAll = ~Mask{0};

  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int num_threads() const { return kThreads; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % kWidth; }
  __device__ int warp_width() const { return kWidth; }
  __device__ int warp() const { return static_cast<int>(threadIdx.x) / kWidth; }
  __device__ int num_warps() const { return kWarps; }
  __device__ void sync() const { __syncthreads(); }

  __device__ std::uint64_t warp_sum(std::uint64_t x) const {
#pragma unroll
    for (int offset = kWidth / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAll, static_cast<unsigned long long>(x), offset, kWidth);
    return x;
  }
  __device__ double warp_sum(double x) const {
#pragma unroll
    for (int offset = kWidth / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAll, x, offset, kWidth);
    return x;
  }
  __device__ std::uint64_t warp_max(std::uint64_t x) const {
#pragma unroll
    for (int offset = kWidth / 2; offset > 0; offset /= 2) {
      const std::uint64_t other = __shfl_xor_sync(kAll, static_cast<unsigned long long>(x), offset, kWidth);
      x = other > x ? other : x;
    }
    return x;
  }
  __device__ std::uint32_t atomic_add(std::uint32_t* to, std::uint32_t x) const { return atomicAdd(to, x); }
  __device__ void atomic_add(std::uint64_t* to, std::uint64_t x) const {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(x));
  }
};

}  // namespace octavo::cuda
