// Attention of any head size over pages, on any architecture: written to be read, and the check of the faster kernels.
//
// A block serves one token and up to kHeads query heads that share a key/value head, so keys and values are read once for all of them.
// The lanes of a warp form streams of kLanes lanes; a stream takes every n-th position of the token's context, kBatch at a time, with an
// online softmax of its own (arXiv:1805.02867). Streams are merged at the end, in a fixed order. Where few tokens would leave the device
// idle, the context is split over several blocks whose results a second kernel merges (Flash-Decoding, Dao et al. 2023).
#include <algorithm>

#include "cuda/attention.h"
#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/launch.h"

namespace octavo::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kLaneCount = 32;
constexpr int kThreads = kWarps * kLaneCount;
constexpr int kBatch = 4;
constexpr int kMostSplits = 32;
constexpr float kLog2e = 1.4426950408889634f;

struct Arguments {
  const void* q;
  std::int64_t q_stride;
  const void* pages;
  void* y;
  std::int64_t y_stride;
  AttentionArrays arrays;
  int max_blocks;
  int num_heads, num_kv_heads, head_dim;
  float scale;
  int window;
  float softcap;
  int chunk;
  const float* alibi_slopes;
  const float* sinks;
  const void* q_rope;
  std::int64_t q_rope_stride;
  int value_dim;
  int splits;
  float* partial;  // [T, H, splits, value_dim + 2]: values, then the maximum and the sum
};

// A softmax under way: values / sum, where terms are 2^(score - max).
template <int kElements>
struct State {
  float max = -INFINITY;
  float sum = 0.0f;
  float values[kElements] = {};

  __device__ __forceinline__ void merge(float other_max, float other_sum, const float* other) {
    const float top = fmaxf(max, other_max);
    if (top == -INFINITY) return;
    const float mine = exp2f(max - top), theirs = exp2f(other_max - top);
    max = top;
    sum = sum * mine + other_sum * theirs;
#pragma unroll
    for (int i = 0; i < kElements; ++i) values[i] = values[i] * mine + other[i] * theirs;
  }
};

// The score of a head's position without a value, in powers of two; -inf: none.
__device__ float sink_of(const Arguments& a, int head) { return a.sinks ? a.sinks[head] * kLog2e : -INFINITY; }

// kLatent: keys and values are one row, and a query comes in two parts.
template <typename T, typename K, int kLanes, int kPacks, int kHeads, bool kLatent>
__global__ void __launch_bounds__(kThreads) paged_attention_kernel(const Arguments a) {
  constexpr int kVec = kVectorElements<T>, kElements = kPacks * kVec, kStreams = kThreads / kLanes;
  using P = Pack<T, kVec>;
  using PK = Pack<K, kVec>;
  const std::int64_t token = blockIdx.x;
  let_next_start();
  wait_for_previous();
  const int group = a.num_heads / a.num_kv_heads, chunks = (group + kHeads - 1) / kHeads;
  const int kv_head = blockIdx.y / chunks, first_head = kv_head * group + blockIdx.y % chunks * kHeads;
  const int num_heads = min(kHeads, (kv_head + 1) * group - first_head);
  const std::int32_t row = a.arrays.token_rows[token];
  if (row < 0) return;
  const int lane = threadIdx.x % kLanes, stream = threadIdx.x / kLanes, head_dim = a.head_dim;
  // Streams of one warp may differ in length by a batch: each exchanges among its own lanes.
  const unsigned mask = (0xffffffffu >> (kLaneCount - kLanes)) << (threadIdx.x % kLaneCount / kLanes * kLanes);

  const int position = a.arrays.positions[token];
  int begin = a.window > 0 ? max(0, position + 1 - a.window) : 0;
  if (a.chunk > 0) begin = max(begin, position / a.chunk * a.chunk);
  const int share = (position + 1 - begin + a.splits - 1) / a.splits;
  const int first = begin + share * blockIdx.z, end = min(position + 1, first + share);

  float query[kHeads][kElements] = {};
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h >= num_heads) break;
    const int head = first_head + h;
    const T* q = static_cast<const T*>(a.q) + token * a.q_stride + static_cast<std::int64_t>(head) * a.value_dim;
    const T* q_rope = kLatent ? static_cast<const T*>(a.q_rope) + token * a.q_rope_stride + head * (head_dim - a.value_dim) : nullptr;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int at = (p * kLanes + lane) * kVec;
      if (at < head_dim) {
        const P pack = P::load(kLatent && at >= a.value_dim ? q_rope + (at - a.value_dim) : q + at);
#pragma unroll
        for (int i = 0; i < kVec; ++i) query[h][p * kVec + i] = pack[i];
      }
    }
  }

  State<kElements> states[kHeads];
  const std::int32_t* blocks = a.arrays.block_tables + static_cast<std::int64_t>(row) * a.max_blocks;
  const std::int64_t kv_row = static_cast<std::int64_t>(a.num_kv_heads) * head_dim;
  const K* pages = static_cast<const K*>(a.pages) + static_cast<std::int64_t>(kv_head) * head_dim;
  for (int start = first + stream; start < end; start += kStreams * kBatch) {
    PK keys[kBatch][kPacks], values[kLatent ? 1 : kBatch][kPacks];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int at_position = min(start + b * kStreams, end - 1);
      const std::int64_t block = blocks[at_position / kPageTokens];
      const K* k = pages + (block * (kLatent ? 1 : 2) * kPageTokens + at_position % kPageTokens) * kv_row;
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const int at = (p * kLanes + lane) * kVec;
        if (at < head_dim) {
          keys[b][p] = PK::load(k + at);
          if constexpr (!kLatent) values[b][p] = PK::load(k + kPageTokens * kv_row + at);
        } else {
          keys[b][p] = PK{};
          if constexpr (!kLatent) values[b][p] = PK{};
        }
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= num_heads) break;
      float scores[kBatch], top = states[h].max;
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        float dot = 0.0f;
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
#pragma unroll
          for (int i = 0; i < kVec; ++i) dot += query[h][p * kVec + i] * keys[b][p][i];
        }
#pragma unroll
        for (int offset = kLanes / 2; offset > 0; offset /= 2) dot += __shfl_xor_sync(mask, dot, offset, kLanes);
        dot *= a.scale;
        if (a.softcap > 0.0f) dot = a.softcap * tanhf(dot / a.softcap);
        if (a.alibi_slopes) dot += a.alibi_slopes[first_head + h] * static_cast<float>(start + b * kStreams - position);
        scores[b] = start + b * kStreams < end ? dot * kLog2e : -INFINITY;
        top = fmaxf(top, scores[b]);
      }
      const float kept = exp2f(states[h].max - top);  // the first position of a batch is real, so top is finite
      states[h].max = top;
      states[h].sum *= kept;
#pragma unroll
      for (int i = 0; i < kElements; ++i) states[h].values[i] *= kept;
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const float weight = exp2f(scores[b] - top);
        states[h].sum += weight;
#pragma unroll
        for (int p = 0; p < kPacks; ++p) {
          const PK& value = kLatent ? keys[b][p] : values[kLatent ? 0 : b][p];
#pragma unroll
          for (int i = 0; i < kVec; ++i) states[h].values[p * kVec + i] += weight * value[i];
        }
      }
    }
  }

  extern __shared__ float shared[];  // [kStreams][value_dim + 2], one head after the other
  const int value_dim = a.value_dim, record = value_dim + 2;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h >= num_heads) break;
    __syncthreads();
    float* mine = shared + stream * record;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int at = (p * kLanes + lane) * kVec;
      if (at < value_dim) {
#pragma unroll
        for (int i = 0; i < kVec; ++i) mine[at + i] = states[h].values[p * kVec + i];
      }
    }
    if (lane == 0) {
      mine[value_dim] = states[h].max;
      mine[value_dim + 1] = states[h].sum;
    }
    __syncthreads();
    const bool joined = a.splits == 1;  // else merge_splits_kernel joins, and adds the sink
    float top = joined ? sink_of(a, first_head + h) : -INFINITY;
    float sum = top == -INFINITY ? 0.0f : 1.0f;
    const float sink = top;
    for (int s = 0; s < kStreams; ++s) top = fmaxf(top, shared[s * record + value_dim]);
    const bool empty = top == -INFINITY;
    sum *= exp2f(sink == -INFINITY ? 0.0f : sink - top);
    for (int s = 0; s < kStreams; ++s)
      sum += empty ? 0.0f : shared[s * record + value_dim + 1] * exp2f(shared[s * record + value_dim] - top);
    const std::int64_t head = first_head + h;
    for (int d = threadIdx.x; d < value_dim; d += kThreads) {
      float total = 0.0f;
      for (int s = 0; s < kStreams; ++s) total += empty ? 0.0f : shared[s * record + d] * exp2f(shared[s * record + value_dim] - top);
      if (joined) {
        static_cast<T*>(a.y)[token * a.y_stride + head * value_dim + d] = from_float<T>(total / sum);
      } else {
        a.partial[((token * a.num_heads + head) * a.splits + blockIdx.z) * record + d] = total;
      }
    }
    if (!joined && threadIdx.x == 0) {
      float* to = a.partial + ((token * a.num_heads + head) * a.splits + blockIdx.z) * record + value_dim;
      to[0] = top;
      to[1] = sum;
    }
  }
}

template <typename T>
__global__ void merge_splits_kernel(const Arguments a) {
  const std::int64_t token = blockIdx.x, head = blockIdx.y;
  let_next_start();
  wait_for_previous();
  if (a.arrays.token_rows[token] < 0) return;
  const int record = a.value_dim + 2;
  const float* partial = a.partial + (token * a.num_heads + head) * a.splits * record;
  const float sink = sink_of(a, static_cast<int>(head));
  float top = sink;
  for (int s = 0; s < a.splits; ++s) top = fmaxf(top, partial[s * record + a.value_dim]);
  float sum = exp2f(sink - top);  // no sink: 0
  for (int s = 0; s < a.splits; ++s) sum += partial[s * record + a.value_dim + 1] * exp2f(partial[s * record + a.value_dim] - top);
  for (int d = threadIdx.x; d < a.value_dim; d += blockDim.x) {
    float total = 0.0f;
    for (int s = 0; s < a.splits; ++s) total += partial[s * record + d] * exp2f(partial[s * record + a.value_dim] - top);
    static_cast<T*>(a.y)[token * a.y_stride + head * a.value_dim + d] = from_float<T>(total / sum);
  }
}

template <typename T, typename K, int kLanes, int kPacks, int kHeads, bool kLatent = false>
void launch(const Arguments& a, int num_tokens, Stream stream) {
  const int group = a.num_heads / a.num_kv_heads;
  const dim3 grid(num_tokens, a.num_kv_heads * ((group + kHeads - 1) / kHeads), a.splits);
  const std::size_t shared = kThreads / kLanes * (a.value_dim + 2) * sizeof(float);
  launch_kernel(paged_attention_kernel<T, K, kLanes, kPacks, kHeads, kLatent>, grid, kThreads, shared, stream, a);
  if (a.splits > 1) launch_kernel(merge_splits_kernel<T>, dim3(num_tokens, a.num_heads), 128, 0, stream, a);
}

template <typename T, typename K, int kLanes, int kPacks>
void launch_heads(const Arguments& a, int num_tokens, Stream stream) {
  const int group = a.num_heads / a.num_kv_heads;
  if (group == 1) return launch<T, K, kLanes, kPacks, 1>(a, num_tokens, stream);
  if (group == 2) return launch<T, K, kLanes, kPacks, 2>(a, num_tokens, stream);
  if (group <= 4 || kPacks > 1) return launch<T, K, kLanes, kPacks, 4>(a, num_tokens, stream);
  if constexpr (kPacks == 1) return launch<T, K, kLanes, kPacks, 8>(a, num_tokens, stream);
}

template <typename T, typename K>
void launch_lanes(const Arguments& a, int num_tokens, Stream stream) {
  const int packs = a.head_dim / kVectorElements<T>;
  if (packs <= 8) return launch_heads<T, K, 8, 1>(a, num_tokens, stream);
  if (packs <= 16) return launch_heads<T, K, 16, 1>(a, num_tokens, stream);
  if (packs <= 32) return launch_heads<T, K, 32, 1>(a, num_tokens, stream);
  if (packs <= 64) return launch_heads<T, K, 32, 2>(a, num_tokens, stream);
  launch_heads<T, K, 32, 4>(a, num_tokens, stream);
}

template <typename T>
void launch_latent(const Arguments& a, int num_tokens, Stream stream) {
  const int packs = a.head_dim / kVectorElements<T>;
  if (packs <= 32) return launch<T, T, 32, 1, 4, true>(a, num_tokens, stream);
  if (packs <= 96) return launch<T, T, 32, 3, 2, true>(a, num_tokens, stream);
  launch<T, T, 32, 5, 1, true>(a, num_tokens, stream);
}

class PagedAttention final : public Attention {
 public:
  PagedAttention(const AttentionShape& shape, const AttentionLimits& limits) : shape_(shape) {
    const int most = shape.latent_dim > 0 ? 640 : 512;
    require(shape.head_dim % 8 == 0 && shape.head_dim <= most && shape.latent_dim % 8 == 0, "paged_attention: head_dim ", shape.head_dim,
            " is not a multiple of 8 up to ", most);
    require(shape.latent_dim == 0 || (shape.num_kv_heads == 1 && shape.kv == shape.activation),
            "paged_attention: latents are of one head and of the activations' type");
    int device = 0, processors = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
    wanted_blocks_ = limits.deterministic ? 0 : processors * 4;
    split_tokens_ = std::min(limits.max_num_tokens, wanted_blocks_ / std::max(1, shape.num_kv_heads));
    const std::int64_t records = static_cast<std::int64_t>(split_tokens_) * shape.num_heads * kMostSplits;
    num_bytes_ = records * (shape.value_dim() + 2) * static_cast<std::int64_t>(sizeof(float));
    if (num_bytes_ > 0) check(cudaMalloc(reinterpret_cast<void**>(&partial_), num_bytes_), "paged_attention: workspace");
  }
  ~PagedAttention() override { cudaFree(partial_); }
  PagedAttention(const PagedAttention&) = delete;
  PagedAttention& operator=(const PagedAttention&) = delete;

  const char* name() const override { return "paged"; }
  bool can_capture(const AttentionStep&) const override { return true; }

  void plan(const AttentionStep& step, Stream) override {
    step_ = step;
    splits_ = 1;
    const int blocks = step.num_tokens * shape_.num_kv_heads;
    if (step.num_tokens > split_tokens_) return;
    splits_ = std::clamp(wanted_blocks_ / std::max(1, blocks), 1, kMostSplits);
    if (!step.captured) splits_ = std::min(splits_, std::max(1, step.max_context_len / 64));
  }

  void run(const DeviceMatrix& q, const AttentionLayer& layer, const DeviceMatrix& y, Stream stream) override {
    if (q.rows == 0) return;
    Arguments arguments{};
    arguments.q = q.data;
    arguments.q_stride = q.stride;
    arguments.pages = layer.pages;
    arguments.y = y.data;
    arguments.y_stride = y.stride;
    arguments.arrays = step_.device;
    arguments.max_blocks = step_.max_blocks;
    arguments.num_heads = shape_.num_heads;
    arguments.num_kv_heads = shape_.num_kv_heads;
    arguments.head_dim = shape_.head_dim;
    arguments.scale = shape_.scale;
    arguments.window = shape_.window;
    arguments.softcap = shape_.softcap;
    arguments.chunk = shape_.chunk;
    arguments.alibi_slopes = shape_.alibi ? layer.alibi_slopes : nullptr;
    arguments.sinks = shape_.sinks ? layer.sinks : nullptr;
    arguments.q_rope = layer.q_rope.data;
    arguments.q_rope_stride = layer.q_rope.stride;
    arguments.value_dim = shape_.value_dim();
    arguments.splits = splits_;
    arguments.partial = partial_;
    if (shape_.latent_dim > 0) {
      return dispatch_float(shape_.activation, "mla_attention", [&](auto* tag) {
        launch_latent<std::remove_pointer_t<decltype(tag)>>(arguments, static_cast<int>(q.rows), stream);
      });
    }
    dispatch_kv(shape_.activation, shape_.kv, "paged_attention", [&](auto* tag, auto* kv) {
      launch_lanes<std::remove_pointer_t<decltype(tag)>, std::remove_pointer_t<decltype(kv)>>(arguments, static_cast<int>(q.rows), stream);
    });
  }

  std::int64_t num_bytes() const override { return num_bytes_; }

 private:
  AttentionShape shape_;
  AttentionStep step_;
  int splits_ = 1;
  int wanted_blocks_ = 0;
  int split_tokens_ = 0;  // steps of more tokens fill the device without splitting; 0: none is split
  std::int64_t num_bytes_ = 0;
  float* partial_ = nullptr;
};

}  // namespace

std::unique_ptr<Attention> make_paged_attention(const AttentionShape& shape, const AttentionLimits& limits) {
  return std::make_unique<PagedAttention>(shape, limits);
}

}  // namespace octavo::cuda
