// A block computes one tile of 16 packed rows against one chunk of a sequence's keys, for one key/value head. Its warps take the chunk's
// pages in turn, each with a ring of pages of its own in shared memory that copies fill ahead (cp.async), and an online softmax of its own
// (arXiv:1805.02867); the warps' states are merged at the end in a fixed order,
// and so are the chunks' results, by a second launch. Products are mma.m16n8k16 with float32 sums. Decoding reads
// every key and value once, so what counts is that enough pages are on their way; those that earlier steps wrote are asked for before the
// launch ahead has ended.
#include "cuda/element.h"
#include "cuda/launch.h"
#include "ops/attention/tile_attention_cuda.h"

namespace octavo::cuda {
namespace {

using flashinfer_units::Fa2Plan;
using flashinfer_units::Layer;

constexpr int kLanes = 32;
constexpr int kTileRows = 16;
constexpr float kLog2e = 1.4426950408889634f;

__device__ __forceinline__ std::uint32_t shared_address(const void* p) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(p)); }

// 16 bytes to shared memory; zeros where there is nothing to read.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(real ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

__device__ __forceinline__ void load_matrices(std::uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

// d [16, 8] += a [16, 16] b [16, 8]
__device__ __forceinline__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, bf16) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, half) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <typename T>
__device__ __forceinline__ std::uint32_t pack_two(float low, float high) {
  Pack<T, 2> pack;
  pack.set(0, low);
  pack.set(1, high);
  return *reinterpret_cast<const std::uint32_t*>(&pack);
}

// Which rows and keys a block has to do with.
struct Tile {
  int query_start, query_len, context_len;
  int first_row;   // packed, within the sequence
  int num_rows;    // of the tile, at most 16
  int begin, end;  // keys of the chunk
  int chunk, num_chunks;
  std::int64_t first_place;  // of the sequence's partial results
  const std::int32_t* pages;
};

__device__ __forceinline__ Tile find_tile(const Layer& layer, const Fa2Plan& plan, int group) {
  Tile tile;
  const int row = plan.item_rows[blockIdx.x];
  tile.query_start = plan.query_indptr[row];
  tile.query_len = plan.query_indptr[row + 1] - tile.query_start;
  tile.context_len = plan.context_lens[row];
  tile.first_row = plan.item_query_tiles[blockIdx.x] * kTileRows;
  tile.num_rows = min(kTileRows, tile.query_len * group - tile.first_row);
  const int first_position = tile.context_len - tile.query_len + tile.first_row / group;
  const int first_key = layer.window > 0 ? max(0, first_position + 1 - layer.window) : 0;
  // The plan's count of keys, which decides the number of chunks.
  const int num_keys = layer.window > 0 ? min(tile.context_len, layer.window - 1 + kTileRows) : tile.context_len;
  const int chunk_tokens = plan.split ? plan.chunk_tokens[0] : num_keys;
  tile.chunk = plan.item_kv_chunks[blockIdx.x];
  tile.num_chunks = (num_keys + chunk_tokens - 1) / chunk_tokens;
  tile.begin = first_key + tile.chunk * chunk_tokens;
  const int last_position = tile.context_len - tile.query_len + (tile.first_row + tile.num_rows - 1) / group;
  tile.end = min(tile.chunk + 1 == tile.num_chunks ? tile.context_len : tile.begin + chunk_tokens, last_position + 1);
  tile.first_place = plan.split ? plan.output_indptr[row] : 0;
  tile.pages = plan.block_tables + plan.page_indptr[row];
  return tile;
}

template <typename T, int kHeadDim, int kWarps, int kStages>
struct Shape {
  static constexpr int kThreads = kWarps * kLanes;
  static constexpr int kChunks = kHeadDim * static_cast<int>(sizeof(T)) / 16;  // 16-byte pieces of a row
  static constexpr int kPageElements = kPageTokens * kHeadDim;                 // of one head, keys or values
  static constexpr int kStageElements = 2 * kPageElements;
  static constexpr int kRingBytes = kWarps * kStages * kStageElements * static_cast<int>(sizeof(T));
  static constexpr int kMergeBytes = kWarps * kTileRows * (kHeadDim + 2) * static_cast<int>(sizeof(float));
  static constexpr int kSharedBytes = kRingBytes > kMergeBytes ? kRingBytes : kMergeBytes;
};

// A piece's place in its row is turned by the row, so that eight rows of one column lie in eight different banks.
template <typename T, int kHeadDim>
__device__ __forceinline__ T* piece(T* rows, int row, int chunk) {
  return rows + row * kHeadDim + ((chunk ^ (row & 7)) * (16 / static_cast<int>(sizeof(T))));
}

template <typename T, int kHeadDim, int kWarps, int kStages>
__global__ void __launch_bounds__(kWarps* kLanes) tile_attention_kernel(const Layer layer, const Fa2Plan plan) {
  using S = Shape<T, kHeadDim, kWarps, kStages>;
  constexpr int kVec = kVectorElements<T>, kSteps = kHeadDim / 16, kOutTiles = kHeadDim / 8;
  extern __shared__ __align__(128) unsigned char memory[];
  let_next_start();
  if (plan.item_is_valid && !plan.item_is_valid[blockIdx.x]) {
    wait_for_previous();
    return;
  }
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes, kv_head = blockIdx.y;
  const int group = layer.num_heads / layer.num_kv_heads;
  const Tile tile = find_tile(layer, plan, group);
  const std::int64_t token_stride = static_cast<std::int64_t>(layer.num_kv_heads) * kHeadDim;
  const T* const keys = static_cast<const T*>(layer.k_pages) + kv_head * kHeadDim;
  const T* const values = static_cast<const T*>(layer.v_pages) + kv_head * kHeadDim;
  T* const ring = reinterpret_cast<T*>(memory) + warp * kStages * S::kStageElements;
  const int first_page = tile.begin / kPageTokens, end_page = (tile.end + kPageTokens - 1) / kPageTokens;

  // The warp's n-th page into its place in the ring.
  const auto fetch = [&](int n) {
    const int page = first_page + warp + n * kWarps;
    if (page < end_page) {
      const std::int64_t at = static_cast<std::int64_t>(tile.pages[page]) * layer.page_stride;
      T* k = ring + n % kStages * S::kStageElements;
#pragma unroll
      for (int i = 0; i < kPageTokens * S::kChunks / kLanes; ++i) {
        const int index = i * kLanes + lane, row = index / S::kChunks, chunk = index % S::kChunks;
        const bool real = page * kPageTokens + row < tile.end;
        const std::int64_t from = at + row * token_stride + chunk * kVec;
        copy_async(piece<T, kHeadDim>(k, row, chunk), keys + from, real);
        copy_async(piece<T, kHeadDim>(k + S::kPageElements, row, chunk), values + from, real);
      }
    }
    commit_copies();
  };

  // Tokens before the step's own were written by steps that have ended.
  const int ahead_end = (first_page + warp + (kStages - 2) * kWarps + 1) * kPageTokens;
  const bool early = min(ahead_end, tile.end) <= tile.context_len - tile.query_len;
  if (early) {
#pragma unroll
    for (int n = 0; n < kStages - 1; ++n) fetch(n);
  }
  wait_for_previous();
  if (!early) {
#pragma unroll
    for (int n = 0; n < kStages - 1; ++n) fetch(n);
  }

  // The lane's rows of the tile: lane / 4 and 8 more.
  const int row0 = lane / 4, col0 = lane % 4 * 2;
  int position[2];
  const T* q_rows[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int packed = tile.first_row + min(row0 + 8 * h, tile.num_rows - 1), query = packed / group;
    position[h] = tile.context_len - tile.query_len + query;
    q_rows[h] = static_cast<const T*>(layer.q) + (tile.query_start + query) * layer.q_stride +
                static_cast<std::int64_t>(kv_head * group + packed % group) * kHeadDim;
  }
  std::uint32_t q[kSteps][4];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int r = 0; r < 4; ++r) q[step][r] = *reinterpret_cast<const std::uint32_t*>(q_rows[r % 2] + step * 16 + r / 2 * 8 + col0);
  }

  float out[kOutTiles][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
  const int num_pages = max(0, (end_page - first_page - warp + kWarps - 1) / kWarps);
  for (int n = 0; n < num_pages; ++n) {
    fetch(n + kStages - 1);
    wait_copies<kStages - 1>();
    __syncwarp();
    T* k = ring + n % kStages * S::kStageElements;
    T* v = k + S::kPageElements;
    float scores[2][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t b[4];
      load_matrices(b, piece<T, kHeadDim>(k, lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
      multiply(scores[0], q[step], b[0], b[1], T{});
      multiply(scores[1], q[step], b[2], b[3], T{});
    }
    const int page_start = (first_page + warp + n * kWarps) * kPageTokens;
    float page_top[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = page_start + t * 8 + col0 + i % 2, h = i / 2;
        float score = scores[t][i] * layer.scale;
        if (layer.softcap > 0.0f) score = layer.softcap * tanhf(score / layer.softcap);
        const bool seen =
            key >= tile.begin && key < tile.end && key <= position[h] && (layer.window == 0 || key > position[h] - layer.window);
        scores[t][i] = seen ? score * kLog2e : -INFINITY;
        page_top[h] = fmaxf(page_top[h], scores[t][i]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      page_top[h] = fmaxf(page_top[h], __shfl_xor_sync(0xffffffffu, page_top[h], 1));
      page_top[h] = fmaxf(page_top[h], __shfl_xor_sync(0xffffffffu, page_top[h], 2));
      const float new_top = fmaxf(top[h], page_top[h]);
      const float kept = new_top == -INFINITY ? 1.0f : exp2f(top[h] - new_top);
      top[h] = new_top;
      sum[h] *= kept;
#pragma unroll
      for (int d = 0; d < kOutTiles; ++d) {
        out[d][2 * h] *= kept;
        out[d][2 * h + 1] *= kept;
      }
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float weight = new_top == -INFINITY ? 0.0f : exp2f(scores[t][2 * h + i] - new_top);
          scores[t][2 * h + i] = weight;
          sum[h] += weight;
        }
      }
    }
    const std::uint32_t weights[4] = {pack_two<T>(scores[0][0], scores[0][1]), pack_two<T>(scores[0][2], scores[0][3]),
                                      pack_two<T>(scores[1][0], scores[1][1]), pack_two<T>(scores[1][2], scores[1][3])};
#pragma unroll
    for (int d = 0; d < kOutTiles; d += 2) {
      std::uint32_t b[4];
      load_matrices_transposed(b, piece<T, kHeadDim>(v, lane / 8 % 2 * 8 + lane % 8, d + lane / 16));
      multiply(out[d], weights, b[0], b[1], T{});
      multiply(out[d + 1], weights, b[2], b[3], T{});
    }
    __syncwarp();  // before the page's place is filled again
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
  }

  wait_copies<0>();
  __syncthreads();
  constexpr int kRecord = kHeadDim + 2;
  float* const merged = reinterpret_cast<float*>(memory);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row0 + 8 * h;
    if (row >= tile.num_rows) continue;
    float* mine = merged + (warp * kTileRows + row) * kRecord;
#pragma unroll
    for (int d = 0; d < kOutTiles; ++d) *reinterpret_cast<float2*>(mine + d * 8 + col0) = make_float2(out[d][2 * h], out[d][2 * h + 1]);
    if (lane % 4 == 0) {
      mine[kHeadDim] = top[h];
      mine[kHeadDim + 1] = sum[h];
    }
  }
  __syncthreads();
  for (int index = threadIdx.x; index < tile.num_rows * (kHeadDim / 2); index += S::kThreads) {
    const int row = index / (kHeadDim / 2), d = index % (kHeadDim / 2) * 2;
    const float* records = merged + row * kRecord;
    float best = -INFINITY, total = 0.0f, x = 0.0f, y = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) best = fmaxf(best, records[w * kTileRows * kRecord + kHeadDim]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float* record = records + w * kTileRows * kRecord;
      const float share = best == -INFINITY ? 0.0f : exp2f(record[kHeadDim] - best);
      total += share * record[kHeadDim + 1];
      x += share * record[d];
      y += share * record[d + 1];
    }
    const float scale = total > 0.0f ? 1.0f / total : 0.0f;
    const int packed = tile.first_row + row, query = packed / group, head = kv_head * group + packed % group;
    T* to = static_cast<T*>(layer.y) + (tile.query_start + query) * layer.y_stride + static_cast<std::int64_t>(head) * kHeadDim;
    if (tile.num_chunks > 1) {
      const std::int64_t place =
          (tile.first_place + static_cast<std::int64_t>(query) * tile.num_chunks + tile.chunk) * layer.num_heads + head;
      to = static_cast<T*>(plan.partial_outputs) + place * kHeadDim;
      if (d == 0) plan.partial_lse[place] = total > 0.0f ? best + log2f(total) : -INFINITY;
    }
    *reinterpret_cast<std::uint32_t*>(to + d) = pack_two<T>(x * scale, y * scale);
  }
}

// Joins the chunks of every token and head that has several.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kHeadDim / 2) merge_chunks_kernel(const Layer layer, const Fa2Plan plan) {
  let_next_start();
  wait_for_previous();
  const std::int64_t token = blockIdx.x, head = blockIdx.y;
  if (token >= *plan.num_merged_tokens) return;
  const int begin = plan.merge_indptr[token], end = plan.merge_indptr[token + 1], d = static_cast<int>(threadIdx.x) * 2;
  if (end - begin < 2) return;
  float top = -INFINITY, total = 0.0f, x = 0.0f, y = 0.0f;
  for (int i = begin; i < end; ++i) top = fmaxf(top, plan.partial_lse[i * static_cast<std::int64_t>(layer.num_heads) + head]);
  for (int i = begin; i < end && top != -INFINITY; ++i) {
    const std::int64_t at = i * static_cast<std::int64_t>(layer.num_heads) + head;
    const float share = exp2f(plan.partial_lse[at] - top);
    const auto values = Pack<T, 2>::load(static_cast<const T*>(plan.partial_outputs) + at * kHeadDim + d);
    total += share;
    x += share * values[0];
    y += share * values[1];
  }
  const float scale = total > 0.0f ? 1.0f / total : 0.0f;
  T* to = static_cast<T*>(layer.y) + (plan.first_merged_token + token) * layer.y_stride + head * kHeadDim + d;
  *reinterpret_cast<std::uint32_t*>(to) = pack_two<T>(x * scale, y * scale);
}

template <typename T, int kHeadDim, int kWarps, int kStages>
void launch(const Layer& layer, const Fa2Plan& plan, Stream stream) {
  const auto kernel = tile_attention_kernel<T, kHeadDim, kWarps, kStages>;
  constexpr int kBytes = Shape<T, kHeadDim, kWarps, kStages>::kSharedBytes;
  static const bool raised = [&] {  // shared memory beyond 48 KB is asked for once
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes), "tile_attention");
    return true;
  }();
  static_cast<void>(raised);
  launch_kernel(kernel, dim3(plan.num_items, layer.num_kv_heads), kWarps * kLanes, kBytes, stream, layer, plan);
  if (plan.split) {
    launch_kernel(merge_chunks_kernel<T, kHeadDim>, dim3(plan.max_merged_tokens, layer.num_heads), kHeadDim / 2, 0, stream, layer, plan);
  }
}

template <typename T>
void launch_head_dim(int head_dim, const Layer& layer, const Fa2Plan& plan, Stream stream) {
  constexpr int kFewBlocks = 264;                                         // two on each multiprocessor
  if (plan.split || plan.num_items * layer.num_kv_heads <= kFewBlocks) {  // more warps each
    if (head_dim == 64) return launch<T, 64, 4, 4>(layer, plan, stream);
    if (head_dim == 128) return launch<T, 128, 4, 3>(layer, plan, stream);
  }
  if (head_dim == 64) return launch<T, 64, 2, 4>(layer, plan, stream);
  if (head_dim == 128) return launch<T, 128, 2, 3>(layer, plan, stream);
  launch<T, 256, 2, 3>(layer, plan, stream);
}

}  // namespace

bool tile_attention_takes(const AttentionShape& shape) {
  return (shape.activation == DType::bf16 || shape.activation == DType::f16) && shape.kv == shape.activation &&
         (shape.head_dim == 64 || shape.head_dim == 128 || shape.head_dim == 256);
}

void tile_attention(const AttentionShape& shape, const Layer& layer, const Fa2Plan& plan, Stream stream) {
  require(tile_attention_takes(shape) && plan.query_tile == kTileRows, "tile_attention: no instance for this shape and plan");
  if (shape.activation == DType::bf16) return launch_head_dim<bf16>(shape.head_dim, layer, plan, stream);
  launch_head_dim<half>(shape.head_dim, layer, plan, stream);
}

}  // namespace octavo::cuda
