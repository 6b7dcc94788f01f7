#include "cuda/element.h"
#include "cuda/launch.h"
#include "ops/embedding/embedding_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T, int kPack>
__global__ void embedding_kernel(const std::int32_t* token_ids, const std::int32_t* last_ids, const T* table, std::int64_t table_stride,
                                 std::int64_t num_ids, float scale, T* y, std::int64_t y_stride, int packs) {
  let_next_start();
  wait_for_previous();
  std::int64_t id = token_ids[blockIdx.x];
  if (id < 0) id = last_ids[~id];
  if (id < 0 || id >= num_ids) id = 0;  // a row that drew nothing has ended: what is computed for it is not looked at
  const T* from = table + id * table_stride;
  T* to = y + static_cast<std::int64_t>(blockIdx.x) * y_stride;
  for (int pack = threadIdx.x; pack < packs; pack += kThreads) {
    auto values = Pack<T, kPack>::load(from + pack * kPack);
    if (scale != 1.0f) {
#pragma unroll
      for (int i = 0; i < kPack; ++i) values.set(i, values[i] * scale);
    }
    values.store(to + pack * kPack);
  }
}

}  // namespace

void embedding(const std::int32_t* token_ids, const std::int32_t* last_ids, const DeviceMatrix& table, float scale, const DeviceMatrix& y,
               Stream stream) {
  if (y.rows == 0) return;
  dispatch_float(y.type, "embedding", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    constexpr int kPack = kVectorElements<T>;
    const bool vectors = table.in_vectors() && y.in_vectors();
    const auto kernel = vectors ? embedding_kernel<T, kPack> : embedding_kernel<T, 1>;
    launch_kernel(kernel, static_cast<unsigned>(y.rows), kThreads, 0, stream, token_ids, last_ids, static_cast<const T*>(table.data),
                  table.stride, table.rows, scale, static_cast<T*>(y.data), y.stride, static_cast<int>(vectors ? y.cols / kPack : y.cols));
  });
}

}  // namespace octavo::cuda
