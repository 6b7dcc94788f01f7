#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "ops/linear/gemv_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kOutputs = 2;  // rows of the weight that a warp reads side by side
constexpr int kUnroll = 4;   // packs of each that are under way

// kSplit warps share a pair of outputs, each with a part of K; sums are joined in a fixed order. The first packs of the weights are on
// their way before the launch ahead, which makes x, has ended.
template <typename T, typename Y, int kRows, int kSplit>
__global__ void __launch_bounds__(kThreads)
    gemv_kernel(const T* x, std::int64_t x_stride, const T* weight, std::int64_t weight_stride, const float* bias, const Y* added,
                std::int64_t added_stride, Y* y, std::int64_t y_stride, int num_outputs, int packs) {
  constexpr int kVec = kVectorElements<T>, kPairs = kWarps / kSplit;
  using P = Pack<T, kVec>;
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, part = warp % kSplit;
  const int first = (blockIdx.x * kPairs + warp / kSplit) * kOutputs;
  float sums[kRows][kOutputs] = {};
  constexpr int kStep = kSplit * kWarpSize;
  const T* rows[kOutputs];
#pragma unroll
  for (int n = 0; n < kOutputs; ++n) rows[n] = weight + min(first + n, num_outputs - 1) * weight_stride;
  P w[kUnroll][kOutputs];
  const auto load = [&](int pack) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int n = 0; n < kOutputs; ++n) w[u][n] = P::load(rows[n] + static_cast<std::int64_t>(pack + u * kStep) * kVec);
    }
  };
  int pack = part * kWarpSize + lane;
  const bool unrolled = pack + (kUnroll - 1) * kStep < packs;
  if (unrolled) load(pack);
  let_next_start();
  wait_for_previous();
  if (first < num_outputs) {
    const auto multiply = [&](int pack, const P* w) {
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        const P a = P::load(x + m * x_stride + static_cast<std::int64_t>(pack) * kVec);
#pragma unroll
        for (int n = 0; n < kOutputs; ++n) {
#pragma unroll
          for (int i = 0; i < kVec; ++i) sums[m][n] += a[i] * w[n][i];
        }
      }
    };
    if (unrolled) {
      for (;;) {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) multiply(pack + u * kStep, w[u]);
        pack += kUnroll * kStep;
        if (pack + (kUnroll - 1) * kStep >= packs) break;
        load(pack);
      }
    }
    for (; pack < packs; pack += kStep) {
#pragma unroll
      for (int n = 0; n < kOutputs; ++n) w[0][n] = P::load(rows[n] + static_cast<std::int64_t>(pack) * kVec);
      multiply(pack, w[0]);
    }
  }
  __shared__ float shared[kWarps][kRows * kOutputs];
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
#pragma unroll
    for (int n = 0; n < kOutputs; ++n) {
      const float sum = warp_sum(sums[m][n]);
      if (lane == 0) shared[warp][m * kOutputs + n] = sum;
    }
  }
  __syncthreads();
  if (part != 0 || lane >= kRows * kOutputs) return;
  const int m = lane / kOutputs, n = first + lane % kOutputs;
  if (n >= num_outputs) return;
  float sum = bias ? bias[n] : 0.0f;
#pragma unroll
  for (int s = 0; s < kSplit; ++s) sum += shared[warp + s][lane];
  if (added) sum += to_float(added[m * added_stride + n]);
  y[m * y_stride + n] = from_float<Y>(sum);
}

template <typename T, typename Y, int kRows>
void launch(const DeviceMatrix& x, const DeviceMatrix& weight, const float* bias, const DeviceMatrix* added, const DeviceMatrix& y,
            Stream stream) {
  const int outputs = static_cast<int>(weight.rows), packs = static_cast<int>(weight.cols / kVectorElements<T>);
  constexpr int kFewBlocks = 528;  // four for each multiprocessor of the largest parts
  const bool split = (outputs + kWarps * kOutputs - 1) / (kWarps * kOutputs) < kFewBlocks && packs >= 64;
  const int per_block = (split ? kWarps / 4 : kWarps) * kOutputs;
  const auto kernel = split ? gemv_kernel<T, Y, kRows, 4> : gemv_kernel<T, Y, kRows, 1>;
  launch_kernel(kernel, static_cast<unsigned>((outputs + per_block - 1) / per_block), kThreads, 0, stream, static_cast<const T*>(x.data),
                x.stride, static_cast<const T*>(weight.data), weight.stride, bias, added ? static_cast<const Y*>(added->data) : nullptr,
                added ? added->stride : 0, static_cast<Y*>(y.data), y.stride, outputs, packs);
}

template <typename T, typename Y>
void launch_rows(const DeviceMatrix& x, const DeviceMatrix& weight, const float* bias, const DeviceMatrix* added, const DeviceMatrix& y,
                 Stream stream) {
  switch (x.rows) {
    case 1:
      return launch<T, Y, 1>(x, weight, bias, added, y, stream);
    case 2:
      return launch<T, Y, 2>(x, weight, bias, added, y, stream);
    case 3:
      return launch<T, Y, 3>(x, weight, bias, added, y, stream);
    default:
      return launch<T, Y, 4>(x, weight, bias, added, y, stream);
  }
}

}  // namespace

bool gemv_takes(const DeviceMatrix& x, const DeviceMatrix& weight) {
  return x.rows <= kMostGemvRows && x.in_vectors() && weight.in_vectors();
}

void gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const float* bias, const DeviceMatrix* added, const DeviceMatrix& y,
          Stream stream) {
  if (x.rows == 0) return;
  dispatch_float(x.type, "gemv", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    if (y.type == DType::f32) return launch_rows<T, float>(x, weight, bias, added, y, stream);
    launch_rows<T, T>(x, weight, bias, added, y, stream);
  });
}

}  // namespace octavo::cuda
