#include "cuda/check.h"
#include "cuda/element.h"
#include "ops/linear/tiled_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kTile = 64;      // rows and outputs of a block
constexpr int kDepth = 32;     // of K at a time
constexpr int kThreads = 128;  // four warps, each a quarter of 32 x 32
constexpr int kPadding = 8;    // elements after a row of a tile: rows fall on different banks

template <typename T>
struct Product {
  const T* x;
  std::int64_t x_stride;
  const T* weight;
  const void* const* weights;  // of experts; null: one matrix
  std::int64_t weight_stride;
  const float* bias;
  void* y;
  bool y_is_float;
  std::int64_t y_stride;
  int rows, outputs, depth;
  const std::int32_t* offsets;  // null: one matrix
  const std::int32_t* sources;
  const float* scales;
};

// Copies kTile rows of kDepth elements into shared memory; what lies outside is zero.
template <typename T, typename RowAt>
__device__ void load_tile(T (*tile)[kDepth + kPadding], const T* from, std::int64_t stride, int first_row, int num_rows, int first_k,
                          int depth, RowAt row_at) {
  constexpr int kVec = kVectorElements<T>, kPacks = kDepth / kVec;
  using P = Pack<T, kVec>;
  const bool vectors = reinterpret_cast<std::uintptr_t>(from) % 16 == 0 && stride % kVec == 0;
  for (int index = threadIdx.x; index < kTile * kPacks; index += kThreads) {
    const int row = index / kPacks, at = index % kPacks * kVec, k = first_k + at;
    P pack;
    const bool real = first_row + row < num_rows;
    const T* source = real ? from + row_at(first_row + row) * stride : from;
    if (real && vectors && k + kVec <= depth) {
      pack = P::load(source + k);
    } else {
#pragma unroll
      for (int i = 0; i < kVec; ++i) pack.values[i] = real && k + i < depth ? source[k + i] : from_float<T>(0.0f);
    }
    pack.store(&tile[row][at]);
  }
}

// A warp's 32 x 32 quarter, in fragments of the tensor cores.
template <typename T>
struct Quarter {
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sums[2][2];

  __device__ void clear() {
    for (auto& row : sums) {
      for (auto& sum : row) nvcuda::wmma::fill_fragment(sum, 0.0f);
    }
  }
  __device__ void multiply(T (*x)[kDepth + kPadding], T (*w)[kDepth + kPadding], int row, int col) {
    using namespace nvcuda::wmma;
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      fragment<matrix_a, 16, 16, 16, T, row_major> a[2];
      fragment<matrix_b, 16, 16, 16, T, col_major> b[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrix_sync(a[i], &x[row + 16 * i][k], kDepth + kPadding);
        load_matrix_sync(b[i], &w[col + 16 * i][k], kDepth + kPadding);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) mma_sync(sums[i][j], a[i], b[j], sums[i][j]);
      }
    }
  }
  __device__ void store(float* out, int stride) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        nvcuda::wmma::store_matrix_sync(out + 16 * i * stride + 16 * j, sums[i][j], stride, nvcuda::wmma::mem_row_major);
    }
  }
};

// The same in float32: lane l has column l of the quarter.
template <>
struct Quarter<float> {
  float sums[32];

  __device__ void clear() {
    for (float& sum : sums) sum = 0.0f;
  }
  __device__ void multiply(float (*x)[kDepth + kPadding], float (*w)[kDepth + kPadding], int row, int col) {
    const int lane = threadIdx.x % 32;
    for (int k = 0; k < kDepth; ++k) {
      const float b = w[col + lane][k];
#pragma unroll
      for (int i = 0; i < 32; ++i) sums[i] += x[row + i][k] * b;
    }
  }
  __device__ void store(float* out, int stride) {
#pragma unroll
    for (int i = 0; i < 32; ++i) out[i * stride + threadIdx.x % 32] = sums[i];
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads) product_kernel(const Product<T> p) {
  const int first_row = p.offsets ? p.offsets[blockIdx.z] : 0, num_rows = p.offsets ? p.offsets[blockIdx.z + 1] : p.rows;
  const int row0 = first_row + blockIdx.y * kTile, col0 = blockIdx.x * kTile;
  if (row0 >= num_rows) return;
  __shared__ alignas(16) union {
    struct {
      T x[kTile][kDepth + kPadding];
      T w[kTile][kDepth + kPadding];
    } in;
    float out[kTile][kTile + 4];
  } tiles;
  const T* weight = p.weights ? static_cast<const T*>(p.weights[blockIdx.z]) : p.weight;
  const int warp = threadIdx.x / 32, row = warp / 2 * 32, col = warp % 2 * 32;
  Quarter<T> quarter;
  quarter.clear();
  for (int k = 0; k < p.depth; k += kDepth) {
    __syncthreads();
    load_tile(tiles.in.x, p.x, p.x_stride, row0, num_rows, k, p.depth,
              [&](int r) { return static_cast<std::int64_t>(p.sources ? p.sources[r] : r); });
    load_tile(tiles.in.w, weight, p.weight_stride, col0, p.outputs, k, p.depth, [](int r) { return static_cast<std::int64_t>(r); });
    __syncthreads();
    quarter.multiply(tiles.in.x, tiles.in.w, row, col);
  }
  __syncthreads();
  quarter.store(&tiles.out[row][col], kTile + 4);
  __syncthreads();
  for (int index = threadIdx.x; index < kTile * kTile; index += kThreads) {
    const int r = row0 + index / kTile, c = col0 + index % kTile;
    if (r >= num_rows || c >= p.outputs) continue;
    const float scale = p.scales ? p.scales[r] : 1.0f, bias = p.bias ? p.bias[blockIdx.z * static_cast<std::int64_t>(p.outputs) + c] : 0.0f;
    const float value = scale * tiles.out[index / kTile][index % kTile] + bias;
    const std::int64_t at = r * p.y_stride + c;
    if (p.y_is_float) {
      static_cast<float*>(p.y)[at] = value;
    } else {
      static_cast<T*>(p.y)[at] = from_float<T>(value);
    }
  }
}

void launch(const char* name, const DeviceMatrix& x, const DeviceMatrix& weight, const GroupedWeights* weights, const float* bias,
            const DeviceMatrix& y, const ExpertRows* experts, Stream stream) {
  if (y.rows == 0) return;
  const auto tiles = [](std::int64_t count) { return static_cast<unsigned>((count + kTile - 1) / kTile); };
  dispatch_float(x.type, name, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const Product<T> product{static_cast<const T*>(x.data),
                             x.stride,
                             static_cast<const T*>(weight.data),
                             weights ? weights->pointers : nullptr,
                             weight.stride,
                             bias,
                             y.data,
                             y.type == DType::f32,
                             y.stride,
                             static_cast<int>(y.rows),
                             static_cast<int>(weight.rows),
                             static_cast<int>(weight.cols),
                             experts ? experts->offsets : nullptr,
                             experts ? experts->sources : nullptr,
                             experts ? experts->scales : nullptr};
    const dim3 grid(tiles(weight.rows), tiles(experts ? experts->most_rows : y.rows),
                    static_cast<unsigned>(weights ? weights->num_experts : 1));
    product_kernel<T><<<grid, kThreads, 0, stream>>>(product);
  });
  check_launch(name);
}

}  // namespace

void tiled_product(const DeviceMatrix& x, const DeviceMatrix& weight, const float* bias, const DeviceMatrix& y, Stream stream) {
  launch("tiled_product", x, weight, nullptr, bias, y, nullptr, stream);
}

void grouped_product(const DeviceMatrix& x, const GroupedWeights& weights, const ExpertRows& rows, const DeviceMatrix& y, Stream stream) {
  launch("grouped_product", x, weights.first, &weights, weights.bias, y, &rows, stream);
}

}  // namespace octavo::cuda
