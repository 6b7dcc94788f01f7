#include "cuda/element.h"
#include "cuda/launch.h"
#include "ops/head_linear/head_linear_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTokens = 8;   // of a block: each of the head's weights is read once for all of them
constexpr int kDepth = 128;  // of x in shared memory at a time

// A thread makes one column of a head for kTokens tokens; blockIdx is (columns, head, tokens).
template <typename T>
__global__ void __launch_bounds__(kThreads)
    head_linear_kernel(const T* x, std::int64_t x_stride, const T* w, T* y, std::int64_t y_stride, int num_tokens, int depth, int outputs) {
  __shared__ float rows[kTokens][kDepth];
  const int column = blockIdx.x * kThreads + threadIdx.x, head = blockIdx.y, first = blockIdx.z * kTokens;
  const int count = min(kTokens, num_tokens - first);
  let_next_start();
  wait_for_previous();
  float sums[kTokens] = {};
  for (int begin = 0; begin < depth; begin += kDepth) {
    const int length = min(kDepth, depth - begin);
    __syncthreads();
    for (int i = threadIdx.x; i < kTokens * length; i += kThreads) {
      const int token = i / length, k = i % length;
      rows[token][k] = token < count ? to_float(x[(first + token) * x_stride + static_cast<std::int64_t>(head) * depth + begin + k]) : 0.0f;
    }
    __syncthreads();
    if (column >= outputs) continue;
    const T* weights = w + (static_cast<std::int64_t>(head) * depth + begin) * outputs + column;
#pragma unroll 4
    for (int k = 0; k < length; ++k) {
      const float weight = to_float(weights[static_cast<std::int64_t>(k) * outputs]);
#pragma unroll
      for (int token = 0; token < kTokens; ++token) sums[token] += rows[token][k] * weight;
    }
  }
  if (column >= outputs) return;
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    if (token < count) y[(first + token) * y_stride + static_cast<std::int64_t>(head) * outputs + column] = from_float<T>(sums[token]);
  }
}

}  // namespace

void head_linear(const DeviceMatrix& x, const DeviceMatrix& w, std::int64_t num_heads, const DeviceMatrix& y, Stream stream) {
  require(w.rows == x.cols && w.stride == w.cols && w.type == x.type && y.type == x.type && y.cols == num_heads * w.cols,
          "head_linear: operands of other shapes or types");
  if (y.rows == 0) return;
  const auto blocks = [](std::int64_t count, int each) { return static_cast<unsigned>((count + each - 1) / each); };
  dispatch_float(x.type, "head_linear", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch_kernel(head_linear_kernel<T>, dim3(blocks(w.cols, kThreads), static_cast<unsigned>(num_heads), blocks(y.rows, kTokens)),
                  kThreads, 0, stream, static_cast<const T*>(x.data), x.stride, static_cast<const T*>(w.data), static_cast<T*>(y.data),
                  y.stride, static_cast<int>(y.rows), static_cast<int>(x.cols / num_heads), static_cast<int>(w.cols));
  });
}

}  // namespace octavo::cuda
