#include "cuda/element.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "ops/activation/activation_device.h"
#include "ops/moe/few_tokens_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kUnroll = 4;  // packs of each row that are under way
constexpr int kLineBytes = 128;
constexpr int kSplit = 4;  // warps that share a pair of the second product's outputs

// sums[n] += the dot product of x with rows[n], over packs first, first + step, ... below `packs`.
template <typename T, int kRows>
__device__ __forceinline__ void dot(const T* x, const T* const (&rows)[kRows], int first, int step, int packs, float (&sums)[kRows]) {
  constexpr int kVec = kVectorElements<T>;
  using P = Pack<T, kVec>;
  const auto multiply = [&](int pack, const P(&w)[kRows]) {
    const P a = P::load(x + static_cast<std::int64_t>(pack) * kVec);
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) sums[n] += a[i] * w[n][i];
    }
  };
  int pack = first;
  for (; pack + (kUnroll - 1) * step < packs; pack += kUnroll * step) {
    P w[kUnroll][kRows];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int n = 0; n < kRows; ++n) w[u][n] = P::load(rows[n] + static_cast<std::int64_t>(pack + u * step) * kVec);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) multiply(pack + u * step, w[u]);
  }
  for (; pack < packs; pack += step) {
    P w[kRows];
#pragma unroll
    for (int n = 0; n < kRows; ++n) w[n] = P::load(rows[n] + static_cast<std::int64_t>(pack) * kVec);
    multiply(pack, w);
  }
}

// A warp to a column of `hidden`; blockIdx.y is the choice.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gate_up_kernel(const T* x, std::int64_t x_stride, const void* const* weights, std::int64_t weight_stride, const float* bias,
                   const std::int32_t* ids, const float* scales, int top_k, T* hidden, int expert_size, int packs, Gating gating) {
  wait_for_previous();
  let_next_start();  // once the choice is there to be read: down_kernel reads it before it waits
  const int column = blockIdx.x * kWarps + threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, choice = blockIdx.y;
  if (column >= expert_size) return;
  const std::int32_t expert = ids[choice];
  const T* weight = static_cast<const T*>(weights[expert]);
  const T* const rows[2] = {weight + column * weight_stride, weight + (expert_size + column) * weight_stride};
  float sums[2] = {};
  dot(x + choice / top_k * x_stride, rows, lane, kWarpSize, packs, sums);
  float gate = warp_sum(sums[0]), up = warp_sum(sums[1]);
  if (lane != 0) return;
  if (scales) {
    gate *= scales[choice];
    up *= scales[choice];
  }
  if (bias) {
    bias += expert * 2 * static_cast<std::int64_t>(expert_size) + column;
    gate += bias[0];
    up += bias[expert_size];
  }
  hidden[static_cast<std::int64_t>(choice) * expert_size + column] = from_float<T>(gated_by(gating, gate, up));
}

__device__ __forceinline__ void prefetch(const void* address) { asm volatile("prefetch.global.L2 [%0];" ::"l"(address)); }

// kSplit warps to two columns of y, each with a part of the depth; blockIdx.y is the token. Sums are joined in a fixed order.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    down_kernel(const T* hidden, const void* const* weights, std::int64_t weight_stride, const float* bias, const std::int32_t* ids,
                const float* shares, int top_k, T* y, std::int64_t y_stride, int outputs, int expert_size) {
  constexpr int kPairs = kWarps / kSplit;
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, part = warp % kSplit;
  const int first = (blockIdx.x * kPairs + warp / kSplit) * 2, token = blockIdx.y, packs = expert_size / kVectorElements<T>;
  let_next_start();
  for (int k = 0; k < top_k && first < outputs; ++k) {  // the weights come while gate_up_kernel ends
    const char* rows = static_cast<const char*>(weights[ids[token * top_k + k]]) + first * weight_stride * static_cast<int>(sizeof(T));
    const int bytes = static_cast<int>(sizeof(T)) * expert_size;
    for (int n = 0; n < min(2, outputs - first); ++n) {
      for (int at = (part * kWarpSize + lane) * kLineBytes; at < bytes; at += kSplit * kWarpSize * kLineBytes)
        prefetch(rows + n * weight_stride * static_cast<int>(sizeof(T)) + at);
    }
  }
  wait_for_previous();
  float sums[2] = {};
  if (first < outputs) {
    for (int k = 0; k < top_k; ++k) {
      const int choice = token * top_k + k;
      const T* weight = static_cast<const T*>(weights[ids[choice]]);
      const T* const rows[2] = {weight + first * weight_stride, weight + min(first + 1, outputs - 1) * weight_stride};
      float products[2] = {};
      dot(hidden + static_cast<std::int64_t>(choice) * expert_size, rows, part * kWarpSize + lane, kSplit * kWarpSize, packs, products);
      const float share = shares ? shares[choice] : 1.0f;
      if (bias && part == 0 && lane == 0) {
        for (int n = 0; n < 2; ++n) products[n] += bias[ids[choice] * static_cast<std::int64_t>(outputs) + min(first + n, outputs - 1)];
      }
      sums[0] += share * products[0];
      sums[1] += share * products[1];
    }
  }
  __shared__ float shared[kWarps][2];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float sum = warp_sum(sums[n]);
    if (lane == 0) shared[warp][n] = sum;
  }
  __syncthreads();
  if (part != 0 || lane >= 2 || first + lane >= outputs) return;
  float sum = 0.0f;
#pragma unroll
  for (int s = 0; s < kSplit; ++s) sum += shared[warp + s][lane];
  y[token * y_stride + first + lane] = from_float<T>(sum);
}

unsigned blocks_of(std::int64_t count, int each) { return static_cast<unsigned>((count + each - 1) / each); }

template <typename T>
void launch_gate_up(const Gating& gating, const float* scales, const DeviceMatrix& x, const DeviceMatrix& ids,
                    const GroupedWeights& gate_up, const DeviceMatrix& hidden, Stream stream) {
  launch_kernel(gate_up_kernel<T>, dim3(blocks_of(hidden.cols, kWarps), static_cast<unsigned>(hidden.rows)), kThreads, 0, stream,
                static_cast<const T*>(x.data), x.stride, gate_up.pointers, gate_up.first.stride, gate_up.bias,
                static_cast<const std::int32_t*>(ids.data), scales, static_cast<int>(ids.cols), static_cast<T*>(hidden.data),
                static_cast<int>(hidden.cols), static_cast<int>(x.cols / kVectorElements<T>), gating);
}

}  // namespace

bool few_tokens_take(const DeviceMatrix& x, const GroupedWeights& gate_up, const GroupedWeights& down) {
  return x.rows <= kMostFewTokens && x.in_vectors() && gate_up.first.in_vectors() && down.first.in_vectors();
}

void few_token_experts(const Gating& gating, bool weighs, const DeviceMatrix& x, const DeviceMatrix& ids, const DeviceMatrix& weights,
                       const GroupedWeights& gate_up, const GroupedWeights& down, const DeviceMatrix& hidden, const DeviceMatrix& y,
                       Stream stream) {
  if (x.rows == 0) return;
  dispatch_float(x.type, "experts", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto* shares = static_cast<const float*>(weights.data);
    launch_gate_up<T>(gating, weighs ? shares : nullptr, x, ids, gate_up, hidden, stream);
    launch_kernel(down_kernel<T>, dim3(blocks_of(y.cols, kWarps / kSplit * 2), static_cast<unsigned>(y.rows)), kThreads, 0, stream,
                  static_cast<const T*>(hidden.data), down.pointers, down.first.stride, down.bias,
                  static_cast<const std::int32_t*>(ids.data), weighs ? nullptr : shares, static_cast<int>(ids.cols),
                  static_cast<T*>(y.data), y.stride, static_cast<int>(y.cols), static_cast<int>(hidden.cols));
  });
}

}  // namespace octavo::cuda
