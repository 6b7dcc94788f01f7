#include "cuda/element.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "ops/activation/activation_device.h"
#include "ops/linear/gemv_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kOutputs = 2;  // rows of the weight that a warp reads side by side
constexpr int kUnroll = 4;   // packs of each that are under way; the last of K may be fewer

enum class Mode { plain, normed, normed_gated };

template <typename T, typename Y>
struct Arguments {
  const T* x;
  std::int64_t x_stride;
  const T* weight;
  std::int64_t weight_stride;
  const float* norm_weight;
  float eps;
  const float* bias;
  const Y* added;
  std::int64_t added_stride;
  Y* y;
  std::int64_t y_stride;
  int num_outputs;  // of y
  int packs;        // of K
};

// A warp makes two outputs, or the two halves of a gated one; kSplit warps share them, each with a part of K, and their sums are joined in
// a fixed order. The first packs of the weights are on their way before the launch ahead, which makes x, has ended. The norm of x is a
// factor of each product's end: its sum of squares is taken on the way.
template <typename T, typename Y, int kRows, int kSplit, Mode kMode>
__global__ void __launch_bounds__(kThreads) gemv_kernel(const Arguments<T, Y> p) {
  constexpr bool kNorm = kMode != Mode::plain, kGated = kMode == Mode::normed_gated;
  constexpr int kVec = kVectorElements<T>, kPairs = kWarps / kSplit, kStep = kSplit * kWarpSize;
  constexpr int kSums = kRows * kOutputs, kRecord = kSums + (kNorm ? kRows : 0);
  using P = Pack<T, kVec>;
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize, part = warp % kSplit;
  const int pair = blockIdx.x * kPairs + warp / kSplit, first = kGated ? pair : pair * kOutputs;
  const T* rows[kOutputs];
#pragma unroll
  for (int n = 0; n < kOutputs; ++n) {
    const int row = kGated ? min(pair, p.num_outputs - 1) + n * p.num_outputs : min(first + n, p.num_outputs - 1);
    rows[n] = p.weight + row * p.weight_stride;
  }
  P w[kUnroll][kOutputs];
  int pack = part * kWarpSize + lane;
  const auto is_whole = [&] { return pack + (kUnroll - 1) * kStep < p.packs; };
  const auto load = [&](bool whole) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int n = 0; n < kOutputs; ++n) {
        if (whole || pack + u * kStep < p.packs) w[u][n] = P::load(rows[n] + static_cast<std::int64_t>(pack + u * kStep) * kVec);
      }
    }
  };
  bool whole = is_whole();
  if (whole) {
    load(true);
  } else {
    load(false);
  }
  let_next_start();
  wait_for_previous();

  float sums[kRows][kOutputs] = {}, squares[kRows] = {};
  const auto multiply = [&](int at, const P* weights) {
    float norm[kVec];
    if constexpr (kNorm) {
#pragma unroll
      for (int i = 0; i < kVec; i += 4) {
        const auto four = Pack<float, 4>::load(p.norm_weight + at * kVec + i);
#pragma unroll
        for (int j = 0; j < 4; ++j) norm[i + j] = four[j];
      }
    }
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      const P a = P::load(p.x + m * p.x_stride + static_cast<std::int64_t>(at) * kVec);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        float value = a[i];
        if constexpr (kNorm) {
          squares[m] += value * value;
          value *= norm[i];
        }
#pragma unroll
        for (int n = 0; n < kOutputs; ++n) sums[m][n] += value * weights[n][i];
      }
    }
  };
  while (whole) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) multiply(pack + u * kStep, w[u]);
    pack += kUnroll * kStep;
    whole = is_whole();
    if (whole) {
      load(true);
    } else {
      load(false);
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    if (pack + u * kStep < p.packs) multiply(pack + u * kStep, w[u]);
  }

  __shared__ float shared[kWarps][kRecord];
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
#pragma unroll
    for (int n = 0; n < kOutputs; ++n) {
      const float sum = warp_sum(sums[m][n]);
      if (lane == 0) shared[warp][m * kOutputs + n] = sum;
    }
    if constexpr (kNorm) {
      const float sum = warp_sum(squares[m]);
      if (lane == 0) shared[warp][kSums + m] = sum;
    }
  }
  __syncthreads();
  if (part != 0 || lane >= (kGated ? kRows : kSums)) return;
  const int m = kGated ? lane : lane / kOutputs, n = kGated ? first : first + lane % kOutputs;
  if (n >= p.num_outputs) return;
  const auto joined = [&](int index) {
    float sum = 0.0f;
#pragma unroll
    for (int s = 0; s < kSplit; ++s) sum += shared[warp + s][index];
    return sum;
  };
  float scale = 1.0f;
  if constexpr (kNorm) scale = rsqrtf(joined(kSums + m) / static_cast<float>(p.packs * kVec) + p.eps);
  const auto with_bias = [&](int index, int output) { return joined(index) * scale + (p.bias ? p.bias[output] : 0.0f); };
  float value;
  if constexpr (kGated) {
    value = activated<Gate::silu>(with_bias(m * kOutputs, n)) * with_bias(m * kOutputs + 1, n + p.num_outputs);
  } else {
    value = with_bias(lane, n);
  }
  if (p.added) value += to_float(p.added[m * p.added_stride + n]);
  p.y[m * p.y_stride + n] = from_float<Y>(value);
}

template <typename T, typename Y, int kRows, Mode kMode>
void launch(const Arguments<T, Y>& arguments, Stream stream) {
  constexpr int kFewBlocks = 528;  // four for each multiprocessor of the largest parts
  const int outputs = kMode == Mode::normed_gated ? arguments.num_outputs * kOutputs : arguments.num_outputs;
  const bool split = (outputs + kWarps * kOutputs - 1) / (kWarps * kOutputs) < kFewBlocks && arguments.packs >= 64;
  const int per_block = (split ? kWarps / 4 : kWarps) * kOutputs;
  const auto kernel = split ? gemv_kernel<T, Y, kRows, 4, kMode> : gemv_kernel<T, Y, kRows, 1, kMode>;
  launch_kernel(kernel, static_cast<unsigned>((outputs + per_block - 1) / per_block), kThreads, 0, stream, arguments);
}

template <typename T, typename Y, Mode kMode>
void launch_rows(std::int64_t rows, const Arguments<T, Y>& arguments, Stream stream) {
  switch (rows) {
    case 1:
      return launch<T, Y, 1, kMode>(arguments, stream);
    case 2:
      return launch<T, Y, 2, kMode>(arguments, stream);
    case 3:
      return launch<T, Y, 3, kMode>(arguments, stream);
    default:
      return launch<T, Y, 4, kMode>(arguments, stream);
  }
}

template <typename T, typename Y>
Arguments<T, Y> arguments_of(const DeviceMatrix& x, const DeviceMatrix& weight, const GemvExtras& extras, const DeviceMatrix& y) {
  return {static_cast<const T*>(x.data),
          x.stride,
          static_cast<const T*>(weight.data),
          weight.stride,
          extras.norm_weight,
          extras.eps,
          extras.bias,
          extras.added ? static_cast<const Y*>(extras.added->data) : nullptr,
          extras.added ? extras.added->stride : 0,
          static_cast<Y*>(y.data),
          y.stride,
          static_cast<int>(y.cols),
          static_cast<int>(weight.cols / kVectorElements<T>)};
}

}  // namespace

bool gemv_takes(const DeviceMatrix& x, const DeviceMatrix& weight) {
  return x.rows <= kMostGemvRows && x.in_vectors() && weight.in_vectors();
}

void gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const GemvExtras& extras, const DeviceMatrix& y, Stream stream) {
  if (x.rows == 0) return;
  require(!extras.gated || extras.norm_weight, "gemv: a gate goes with a norm");
  dispatch_float(x.type, "gemv", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    if (!extras.norm_weight && y.type == DType::f32) {
      return launch_rows<T, float, Mode::plain>(x.rows, arguments_of<T, float>(x, weight, extras, y), stream);
    }
    const auto arguments = arguments_of<T, T>(x, weight, extras, y);
    if (!extras.norm_weight) return launch_rows<T, T, Mode::plain>(x.rows, arguments, stream);
    if constexpr (!std::is_same_v<T, float>) {
      if (extras.gated) return launch_rows<T, T, Mode::normed_gated>(x.rows, arguments, stream);
      return launch_rows<T, T, Mode::normed>(x.rows, arguments, stream);
    }
    require(false, "gemv: x is normalised in bf16 and fp16 alone");
  });
}

}  // namespace octavo::cuda
