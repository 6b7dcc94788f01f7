#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "ops/norm/norm_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostKept = 4;  // packs of a thread that stay in registers between the two passes

// One block per group of columns. kPack elements move at a time; groups of up to kThreads * kMostKept packs are read once.
template <typename T, int kPack, bool kAdd>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(const T* x, std::int64_t x_stride, const T* residual, std::int64_t residual_stride, const float* weight, int group,
                    float eps, T* y, std::int64_t y_stride, T* sum, std::int64_t sum_stride) {
  using P = Pack<T, kPack>;
  const std::int64_t row = blockIdx.x, first = static_cast<std::int64_t>(blockIdx.y) * group;
  x += row * x_stride + first;
  y += row * y_stride + first;
  if constexpr (kAdd) {
    residual += row * residual_stride;
    sum += row * sum_stride;
  }
  const int packs = group / kPack;
  let_next_start();
  wait_for_previous();
  float kept[kMostKept][kPack];
  float squares = 0.0f;
  const auto value = [&](int pack, float* out) {
    const P a = P::load(x + pack * kPack);
    if constexpr (kAdd) {
      const P b = P::load(residual + pack * kPack);
#pragma unroll
      for (int i = 0; i < kPack; ++i) out[i] = a[i] + b[i];
    } else {
#pragma unroll
      for (int i = 0; i < kPack; ++i) out[i] = a[i];
    }
  };
#pragma unroll
  for (int k = 0; k < kMostKept; ++k) {
    const int pack = threadIdx.x + k * kThreads;
    if (pack >= packs) break;
    value(pack, kept[k]);
#pragma unroll
    for (int i = 0; i < kPack; ++i) squares += kept[k][i] * kept[k][i];
  }
  for (int pack = threadIdx.x + kMostKept * kThreads; pack < packs; pack += kThreads) {
    float values[kPack];
    value(pack, values);
#pragma unroll
    for (int i = 0; i < kPack; ++i) squares += values[i] * values[i];
  }
  const float scale = rsqrtf(block_sum<kThreads>(squares) / static_cast<float>(group) + eps);
  const auto write = [&](int pack, const float* values) {
    P normed, total;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      normed.set(i, values[i] * scale * weight[pack * kPack + i]);
      total.set(i, values[i]);
    }
    if constexpr (kAdd) total.store(sum + pack * kPack);
    normed.store(y + pack * kPack);
  };
#pragma unroll
  for (int k = 0; k < kMostKept; ++k) {
    const int pack = threadIdx.x + k * kThreads;
    if (pack >= packs) break;
    write(pack, kept[k]);
  }
  for (int pack = threadIdx.x + kMostKept * kThreads; pack < packs; pack += kThreads) {
    float values[kPack];
    value(pack, values);
    write(pack, values);
  }
}

// One warp per group: heads are short.
template <typename T>
__global__ void rms_norm_heads_kernel(const T* x, std::int64_t x_stride, const float* weight, int group, float eps, T* y,
                                      std::int64_t y_stride, std::int64_t rows, int groups) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / kWarpSize) + threadIdx.x / kWarpSize;
  let_next_start();
  wait_for_previous();
  if (index >= rows * groups) return;
  const int lane = threadIdx.x % kWarpSize;
  x += index / groups * x_stride + index % groups * group;
  y += index / groups * y_stride + index % groups * group;
  float squares = 0.0f;
  for (int i = lane; i < group; i += kWarpSize) squares += to_float(x[i]) * to_float(x[i]);
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(group) + eps);
  for (int i = lane; i < group; i += kWarpSize) y[i] = from_float<T>(to_float(x[i]) * scale * weight[i]);
}

// A block to a group; deviations from the mean are squared in a second pass, so that nothing cancels.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(const T* x, std::int64_t x_stride, const float* weight, const float* bias,
                                                              int group, float eps, T* y, std::int64_t y_stride) {
  using P = Pack<T, kPack>;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * group;
  x += static_cast<std::int64_t>(blockIdx.x) * x_stride + first;
  y += static_cast<std::int64_t>(blockIdx.x) * y_stride + first;
  let_next_start();
  wait_for_previous();
  const int packs = group / kPack;
  float sum = 0.0f, squares = 0.0f;
  for (int pack = threadIdx.x; pack < packs; pack += kThreads) {
    const P values = P::load(x + pack * kPack);
#pragma unroll
    for (int i = 0; i < kPack; ++i) sum += values[i];
  }
  const float mean = block_sum<kThreads>(sum) / static_cast<float>(group);
  for (int pack = threadIdx.x; pack < packs; pack += kThreads) {
    const P values = P::load(x + pack * kPack);
#pragma unroll
    for (int i = 0; i < kPack; ++i) squares += (values[i] - mean) * (values[i] - mean);
  }
  const float scale = rsqrtf(block_sum<kThreads>(squares) / static_cast<float>(group) + eps);
  for (int pack = threadIdx.x; pack < packs; pack += kThreads) {
    const P values = P::load(x + pack * kPack);
    P normed;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const int at = pack * kPack + i;
      normed.set(i, (values[i] - mean) * scale * weight[at] + (bias ? bias[at] : 0.0f));
    }
    normed.store(y + pack * kPack);
  }
}

template <bool kAdd>
void launch(const DeviceMatrix& x, const DeviceMatrix* residual, const float* weight, std::int64_t group, float eps, const DeviceMatrix& y,
            const DeviceMatrix* sum, Stream stream) {
  if (x.rows == 0) return;
  const int groups = static_cast<int>(x.cols / group);
  dispatch_float(x.type, "rms_norm", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    constexpr int kPack = kVectorElements<T>;
    const bool vectors = x.in_vectors() && y.in_vectors() && group % kPack == 0 && (!kAdd || (residual->in_vectors() && sum->in_vectors()));
    const auto kernel = vectors ? rms_norm_kernel<T, kPack, kAdd> : rms_norm_kernel<T, 1, kAdd>;
    launch_kernel(kernel, dim3(static_cast<unsigned>(x.rows), groups), kThreads, 0, stream, static_cast<const T*>(x.data), x.stride,
                  kAdd ? static_cast<const T*>(residual->data) : nullptr, kAdd ? residual->stride : 0, weight, static_cast<int>(group), eps,
                  static_cast<T*>(y.data), y.stride, kAdd ? static_cast<T*>(sum->data) : nullptr, kAdd ? sum->stride : 0);
  });
}

}  // namespace

void rms_norm(const DeviceMatrix& x, const float* weight, std::int64_t group, float eps, const DeviceMatrix& y, Stream stream) {
  constexpr int kLongestHead = 512;
  if (group > kLongestHead || group == x.cols) return launch<false>(x, nullptr, weight, group, eps, y, nullptr, stream);
  if (x.rows == 0) return;
  const int groups = static_cast<int>(x.cols / group), warps = 8;
  dispatch_float(x.type, "rms_norm", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto blocks = static_cast<unsigned>((x.rows * groups + warps - 1) / warps);
    launch_kernel(rms_norm_heads_kernel<T>, blocks, warps * kWarpSize, 0, stream, static_cast<const T*>(x.data), x.stride, weight,
                  static_cast<int>(group), eps, static_cast<T*>(y.data), y.stride, x.rows, groups);
  });
}

void add_rms_norm(const DeviceMatrix& x, const DeviceMatrix& residual, const float* weight, float eps, const DeviceMatrix& y,
                  const DeviceMatrix& sum, Stream stream) {
  launch<true>(x, &residual, weight, x.cols, eps, y, &sum, stream);
}

void layer_norm(const DeviceMatrix& x, const float* weight, const float* bias, std::int64_t group, float eps, const DeviceMatrix& y,
                Stream stream) {
  if (x.rows == 0) return;
  dispatch_float(x.type, "layer_norm", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    constexpr int kPack = kVectorElements<T>;
    const auto kernel = x.in_vectors() && y.in_vectors() && group % kPack == 0 ? layer_norm_kernel<T, kPack> : layer_norm_kernel<T, 1>;
    launch_kernel(kernel, dim3(static_cast<unsigned>(x.rows), static_cast<unsigned>(x.cols / group)), kThreads, 0, stream,
                  static_cast<const T*>(x.data), x.stride, weight, bias, static_cast<int>(group), eps, static_cast<T*>(y.data), y.stride);
  });
}

}  // namespace octavo::cuda
