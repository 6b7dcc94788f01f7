#include "cuda/element.h"
#include "cuda/launch.h"
#include "ops/gather/gather_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T, int kPack>
__global__ void select_rows_kernel(const T* x, std::int64_t x_stride, const std::int32_t* indices, T* y, std::int64_t y_stride, int packs) {
  let_next_start();
  wait_for_previous();
  const T* from = x + indices[blockIdx.x] * x_stride;
  T* to = y + static_cast<std::int64_t>(blockIdx.x) * y_stride;
  for (int pack = threadIdx.x; pack < packs; pack += kThreads) Pack<T, kPack>::load(from + pack * kPack).store(to + pack * kPack);
}

}  // namespace

void select_rows(const DeviceMatrix& x, const std::int32_t* indices, const DeviceMatrix& y, Stream stream) {
  if (y.rows == 0) return;
  dispatch_float(x.type, "select_rows", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    constexpr int kPack = kVectorElements<T>;
    const bool vectors = x.in_vectors() && y.in_vectors();
    const auto kernel = vectors ? select_rows_kernel<T, kPack> : select_rows_kernel<T, 1>;
    launch_kernel(kernel, static_cast<unsigned>(y.rows), kThreads, 0, stream, static_cast<const T*>(x.data), x.stride, indices,
                  static_cast<T*>(y.data), y.stride, static_cast<int>(vectors ? y.cols / kPack : y.cols));
  });
}

}  // namespace octavo::cuda
