#include "cuda/element.h"
#include "cuda/launch.h"
#include "cuda/reduce.h"
#include "cuda/tensor_core.h"
#include "ops/activation/activation_device.h"
#include "ops/moe/grouped_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kPiece = 8;        // elements of 16 bytes
constexpr int kNeighbours = 16;  // row tiles whose blocks run side by side over the same columns, for the L2 cache
constexpr std::uint32_t kNone = ~0u;

// What becomes of a product: itself; its halves gated by silu and nothing else, which most models do; gated as the arguments say.
enum class Form { plain, silu, gated };

template <typename T>
struct Grouped {
  const T* x;
  const void* const* weights;
  T* y;
  std::uint32_t x_pieces, weight_pieces;  // of 16 bytes, from a row to the next
  std::int64_t y_stride;
  int outputs, depth_pieces, col_tiles;
  const std::int32_t* offsets;
  const std::int32_t* sources;  // null: rows of x are sorted already
  const ExpertTile* tiles;
  const std::int32_t* num_tiles;
  const float* bias;    // [X, rows of a matrix]; null: none
  const float* scales;  // of the rows of x; null: 1
  Gating gating;
};

// A block computes kRows rows of one expert times kCols rows of its matrix. Warps stand kWarpsM by kWarpsN; where kWarpsN is 1, a warp
// has 16 rows, and four of them are a warpgroup.
template <int kRows_, int kCols_, int kWarpsM_, int kWarpsN_, int kStages_>
struct TileShape {
  static constexpr int kRows = kRows_, kCols = kCols_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kStages = kStages_;
  static constexpr int kThreads = kWarpsM * kWarpsN * kWarpSize;
  static constexpr bool kWarpgroups = kWarpsN == 1 && kWarpsM % 4 == 0 && kRows == 16 * kWarpsM;
  static constexpr int kAhead = kWarpgroups ? kStages - 2 : kStages - 1;                     // stages being copied while one is multiplied
  static constexpr int kRowBlocks = kRows / kWarpsM / 16, kColBlocks = kCols / kWarpsN / 8;  // fragments of a warp
  static constexpr int kWarpCols = kCols / kWarpsN;
  static constexpr int kStageBytes = (kRows + kCols) * kTileRowBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024;  // room to begin at a multiple of 1024
};
using Tile16 = TileShape<16, 64, 1, 4, 5>;
using Tile32 = TileShape<32, 64, 1, 4, 5>;
using Tile64 = TileShape<64, 128, 4, 1, 4>;
using Tile128 = TileShape<128, 256, 8, 1, 4>;

template <typename S>
using Sums = float[S::kRowBlocks][S::kColBlocks][4];

template <typename T, typename S>
__device__ __forceinline__ void multiply_stage(Sums<S>& sums, std::uint32_t x_tile, std::uint32_t w_tile) {
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
#if OCTAVO_WARPGROUP_PRODUCTS
  if constexpr (S::kWarpgroups) {
    const std::uint64_t a = describe_tile(x_tile + static_cast<std::uint32_t>(warp / 4 * 64 * kTileRowBytes)), b = describe_tile(w_tile);
    begin_products();
#pragma unroll
    for (int k = 0; k < kTileDepth / 16; ++k) multiply_tiles<T>(sums[0], a + 2 * k, b + 2 * k);
    commit_products();
    return;
  }
#endif
  const int row = warp / S::kWarpsN * S::kRowBlocks * 16 + lane % 16, col = warp % S::kWarpsN * S::kWarpCols + lane % 8 + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTileDepth / 16; ++k) {
    std::uint32_t a[S::kRowBlocks][4];
#pragma unroll
    for (int m = 0; m < S::kRowBlocks; ++m) load_matrices(a[m], x_tile + tile_offset(row + 16 * m, 2 * k + lane / 16));
#pragma unroll
    for (int n = 0; n < S::kColBlocks; n += 2) {
      std::uint32_t b[4];
      load_matrices(b, w_tile + tile_offset(col + 8 * n, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int m = 0; m < S::kRowBlocks; ++m) {
        multiply_fragments<T>(sums[m][n], a[m], b[0], b[1]);
        multiply_fragments<T>(sums[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// The stages' ring: each thread copies one 16-byte piece of a few rows of x and of the weight.
template <typename T, typename S, bool kGated>
class Copies {
 public:
  __device__ Copies(const Grouped<T>& p, const T* weight, int row0, int row_end, int col0, std::uint32_t shared)
      : x_(p.x), weight_(weight), shared_(shared), depth_pieces_(p.depth_pieces), piece_(threadIdx.x % 8), first_(threadIdx.x / 8) {
#pragma unroll
    for (int i = 0; i < kXRows; ++i) {
      const int row = row0 + first_ + i * kStep;
      x_rows_[i] = row < row_end ? static_cast<std::uint32_t>(p.sources ? p.sources[row] : row) * p.x_pieces : kNone;
    }
#pragma unroll
    for (int i = 0; i < kWeightRows; ++i) {
      const int at = first_ + i * kStep, in_warp = at % S::kWarpCols;
      // Gated: a warp's columns are as many gates, then their ups.
      constexpr int kEach = kGated ? S::kWarpCols / 2 : S::kWarpCols;
      const int output = col0 + at / S::kWarpCols * kEach + in_warp % kEach, row = in_warp / kEach * p.outputs + output;
      w_rows_[i] = output < p.outputs ? static_cast<std::uint32_t>(row) * p.weight_pieces : kNone;
    }
  }
  __device__ void stage(int step) const {
    rows(step);
    weights(step);
  }
  __device__ void rows(int step) const {
#pragma unroll
    for (int i = 0; i < kXRows; ++i) copy(tile(step), i, x_, x_rows_[i], step);
  }
  __device__ void weights(int step) const {
#pragma unroll
    for (int i = 0; i < kWeightRows; ++i) copy(tile(step) + S::kRows * kTileRowBytes, i, weight_, w_rows_[i], step);
  }

 private:
  static constexpr int kStep = S::kThreads / 8, kXRows = S::kRows / kStep, kWeightRows = S::kCols / kStep;
  static_assert(kXRows * kStep == S::kRows && kWeightRows * kStep == S::kCols, "every thread copies whole rows' worth");

  __device__ std::uint32_t tile(int step) const { return shared_ + step % S::kStages * S::kStageBytes; }
  __device__ void copy(std::uint32_t tile, int i, const T* from, std::uint32_t row, int step) const {
    const int piece = step * (kTileDepth / kPiece) + piece_;
    const bool real = piece < depth_pieces_ && row != kNone;
    const std::int64_t at = real ? static_cast<std::int64_t>(row) + piece : 0;
    copy_async(tile + tile_offset(first_ + i * kStep, piece_), from + at * kPiece, real);
  }

  const T* x_;
  const T* weight_;
  std::uint32_t shared_;
  int depth_pieces_, piece_, first_;
  std::uint32_t x_rows_[kXRows], w_rows_[kWeightRows];
};

// Fills sums with the block's product.
template <typename T, typename S, bool kGated>
__device__ __forceinline__ void multiply_rows(Sums<S>& sums, const Copies<T, S, kGated>& copies, std::uint32_t shared, int steps) {
  if constexpr (!kGated) {  // what the rows are made of was written two launches ago, the rows by the one before: weights come first
    let_next_start();
#pragma unroll
    for (int step = 0; step < S::kAhead; ++step) {
      if (step < steps) copies.weights(step);
    }
    wait_for_previous();
  }
#pragma unroll
  for (int step = 0; step < S::kAhead; ++step) {
    if (step < steps) copies.rows(step);
    if (kGated && step < steps) copies.weights(step);
    commit_copies();
  }
  for (int step = 0; step < steps; ++step) {
    wait_copies<S::kAhead - 1>();
#if OCTAVO_WARPGROUP_PRODUCTS
    if constexpr (S::kWarpgroups) fence_tiles();
#endif
    __syncthreads();
    const std::uint32_t x_tile = shared + step % S::kStages * S::kStageBytes;
    if constexpr (S::kWarpgroups) multiply_stage<T, S>(sums, x_tile, x_tile + S::kRows * kTileRowBytes);
    if (step + S::kAhead < steps) copies.stage(step + S::kAhead);  // where nobody reads any more: the barrier was after that
    commit_copies();
    if constexpr (!S::kWarpgroups) multiply_stage<T, S>(sums, x_tile, x_tile + S::kRows * kTileRowBytes);
#if OCTAVO_WARPGROUP_PRODUCTS
    if constexpr (S::kWarpgroups) wait_products<1>();
#endif
  }
#if OCTAVO_WARPGROUP_PRODUCTS
  if constexpr (S::kWarpgroups) wait_products<0>();
#endif
}

template <typename T>
__device__ __forceinline__ void store_two(T* to, float x, float y) {
  Pack<T, 2> pack;
  pack.set(0, x);
  pack.set(1, y);
  pack.store(to);
}

template <typename T, typename S, Form kForm>
__device__ __forceinline__ void store_rows(const Sums<S>& sums, const Grouped<T>& p, int expert, int row0, int row_end, int col0) {
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  constexpr bool kGated = kForm != Form::plain;
  constexpr int kBlocks = kGated ? S::kColBlocks / 2 : S::kColBlocks;
  const float* bias = p.bias ? p.bias + static_cast<std::int64_t>(expert) * (kGated ? 2 : 1) * p.outputs : nullptr;
  const int first_row = row0 + warp / S::kWarpsN * S::kRowBlocks * 16 + lane / 4,
            first_col = col0 + warp % S::kWarpsN * kBlocks * 8 + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < S::kRowBlocks; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + 16 * m + 8 * half;
      if (row >= row_end) continue;
      T* to = p.y + row * p.y_stride;
      const float scale = p.scales ? p.scales[row] : 1.0f;
      const auto value = [&](float sum, int output) { return scale * sum + (bias ? bias[output] : 0.0f); };
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        const int col = first_col + 8 * n;
        const float* sum = &sums[m][n][2 * half];
        if (col >= p.outputs) continue;
        if constexpr (kForm == Form::silu) {
          const float* up = &sums[m][n + kBlocks][2 * half];
          store_two(to + col, activated<Gate::silu>(sum[0]) * up[0], activated<Gate::silu>(sum[1]) * up[1]);
        } else if constexpr (kForm == Form::gated) {
          const float* up = &sums[m][n + kBlocks][2 * half];
          const auto at = [&](int i) { return gated_by(p.gating, value(sum[i], col + i), value(up[i], p.outputs + col + i)); };
          store_two(to + col, at(0), at(1));
        } else {
          store_two(to + col, value(sum[0], col), value(sum[1], col + 1));
        }
      }
    }
  }
}

template <typename T, typename S, Form kForm>
__global__ void __launch_bounds__(S::kThreads) grouped_kernel(const Grouped<T> p) {
  constexpr bool kGated = kForm != Form::plain;
  extern __shared__ unsigned char memory[];
  if constexpr (kGated) {
    wait_for_previous();
    let_next_start();  // once the tiles are there to be read: the product after this one reads them before it waits
  }
  const int num_tiles = *p.num_tiles, block = static_cast<int>(blockIdx.x);
  if (block >= num_tiles * p.col_tiles) {  // the grid is for the most tiles that the choices can make
    if constexpr (!kGated) wait_for_previous();
    return;
  }
  const int group = block / (kNeighbours * p.col_tiles) * kNeighbours, in_group = block % (kNeighbours * p.col_tiles),
            group_tiles = min(kNeighbours, num_tiles - group);
  const ExpertTile tile = p.tiles[group + in_group % group_tiles];
  const int col0 = in_group / group_tiles * (kGated ? S::kCols / 2 : S::kCols), row_end = p.offsets[tile.expert + 1];
  const std::uint32_t shared = (shared_address(memory) + 1023) / 1024 * 1024;
  Sums<S> sums = {};
  const Copies<T, S, kGated> copies(p, static_cast<const T*>(p.weights[tile.expert]), tile.first_row, row_end, col0, shared);
  multiply_rows<T, S, kGated>(sums, copies, shared, (p.depth_pieces + 7) / 8);
  store_rows<T, S, kForm>(sums, p, tile.expert, tile.first_row, row_end, col0);
}

template <typename T, typename S, Form kForm>
void launch(Grouped<T> p, std::int64_t most_tiles, Stream stream) {
  constexpr int kOutputs = kForm == Form::plain ? S::kCols : S::kCols / 2;
  p.col_tiles = (p.outputs + kOutputs - 1) / kOutputs;
  const auto kernel = grouped_kernel<T, S, kForm>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes), "grouped_product");
  launch_kernel(kernel, static_cast<unsigned>(most_tiles * p.col_tiles), S::kThreads, S::kSharedBytes, stream, p);
}

template <Form kForm>
void launch_typed(const Gating& gating, const float* scales, const DeviceMatrix& x, const GroupedWeights& weights,
                  const SortedChoices& sorted, int tile_rows, const DeviceMatrix& y, Stream stream) {
  if (y.rows == 0) return;
  constexpr bool kGated = kForm != Form::plain;
  const DeviceMatrix& w = weights.first;
  require(grouped_takes(weights) && x.in_vectors() && w.type == x.type && w.cols == x.cols && w.rows == (kGated ? 2 : 1) * y.cols &&
              y.type == x.type && y.stride % 2 == 0,
          "grouped_product: operands of other shapes, types or alignments");
  const auto pieces = [](std::int64_t elements) { return static_cast<std::uint32_t>(elements / kPiece); };
  const std::int64_t most_tiles = most_expert_tiles(y.rows, weights.num_experts, tile_rows);
  const auto run = [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const Grouped<T> p{static_cast<const T*>(x.data),
                       weights.pointers,
                       static_cast<T*>(y.data),
                       pieces(x.stride),
                       pieces(w.stride),
                       y.stride,
                       static_cast<int>(y.cols),
                       static_cast<int>(x.cols / kPiece),
                       0,
                       sorted.offsets,
                       kGated ? sorted.sources : nullptr,
                       sorted.tiles,
                       sorted.num_tiles,
                       weights.bias,
                       scales,
                       gating};
    if (tile_rows == 16) return launch<T, Tile16, kForm>(p, most_tiles, stream);
    if (tile_rows == 32) return launch<T, Tile32, kForm>(p, most_tiles, stream);
    if (tile_rows == 64) return launch<T, Tile64, kForm>(p, most_tiles, stream);
    launch<T, Tile128, kForm>(p, most_tiles, stream);
  };
  if (x.type == DType::bf16) return run(static_cast<bf16*>(nullptr));
  run(static_cast<half*>(nullptr));
}

int most_shared_bytes() {
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "shared memory");
  return bytes;
}

}  // namespace

bool grouped_takes(const GroupedWeights& weights) {
  return weights.first.type != DType::f32 && weights.first.in_vectors() && weights.first.rows % 4 == 0;
}

int tile_rows(std::int64_t num_choices, std::int64_t num_experts) {
  const std::int64_t each = (num_choices + num_experts - 1) / num_experts;
  if (each <= 8) return Tile16::kRows;
  if (each <= 20) return Tile32::kRows;
  return each <= 48 || most_shared_bytes() < Tile128::kSharedBytes ? Tile64::kRows : Tile128::kRows;
}

void grouped_product(const DeviceMatrix& x, const GroupedWeights& weights, const SortedChoices& sorted, int tile_rows,
                     const DeviceMatrix& y, Stream stream) {
  launch_typed<Form::plain>(Gate::silu, nullptr, x, weights, sorted, tile_rows, y, stream);
}

void gated_grouped_product(const Gating& gating, bool weighs, const DeviceMatrix& x, const GroupedWeights& weights,
                           const SortedChoices& sorted, int tile_rows, const DeviceMatrix& y, Stream stream) {
  const bool simple = gating.gate == Gate::silu && !weighs && !weights.bias;
  const auto launch = simple ? launch_typed<Form::silu> : launch_typed<Form::gated>;
  launch(gating, weighs ? sorted.weights : nullptr, x, weights, sorted, tile_rows, y, stream);
}

}  // namespace octavo::cuda
