// Causal attention of new tokens over paged keys and values (vLLM, arXiv:2309.06180) with an online softmax (arXiv:1805.02867).
//
//   y[t, h] = softmax_j(cap(scale * q[t, h] . K[j, h / (H / K)]) - slope[h] * (p - j)) . V[j, h / (H / K)]     cap(s) = softcap * tanh(s /
//   softcap)
//
// (slopes: attention with linear biases, arXiv:2108.12409) over positions j = max(0, p - window + 1) .. p, where token i of request r
// stands at p = context_lens[r] - num_queries + i. With chunks of C positions, j begins at p / C * C (Llama 4). With sinks, the softmax of
// head h has one more position of score sinks[h], whose value is zero (gpt-oss, arXiv:2508.10925; Xiao et al., arXiv:2309.17453).
//
// A row's bits depend on its own q and the keys and values it sees, never on the batch, the chunk, the pages or the threads:
// positions are cut into segments of 128 counted from position 0, a softmax is taken inside each, and segments are merged in
// ascending order by one formula. Who computes a segment does not matter, so one long context can use every thread.
#pragma once
#include <cstdint>
#include <optional>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "ops/attention/kv_cache.h"

namespace octavo {

// Over a latent cache (DeepSeek-V2, arXiv:2405.04434) all heads share one key/value head: K[j] is a token's whole vector, V[j] its first
// L elements; a query is q and then q_rope, a result has L columns per head.
struct PagedAttention {
  Span<const std::int32_t> query_indptr;    // [R + 1]: rows of q of each request, ascending from 0 to T
  Span<const std::int32_t> context_lens;    // [R]: tokens of each request that are in the cache, its new ones included
  Matrix<const std::int32_t> block_tables;  // [R, M]: M * P >= context_lens[r]; entries past the context are not read
  int num_heads = 0;                        // H, a multiple of the cache's K
  float scale = 1.0f;
  std::optional<int> window = std::nullopt;     // >= 1
  std::optional<float> softcap = std::nullopt;  // > 0
  const float* alibi_slopes = nullptr;          // [H]; null: no biases
  std::optional<int> chunk = std::nullopt;      // >= 1
  const float* sinks = nullptr;                 // [H]; null: none
  Matrix<const float> q_rope = {};              // [T, H * R], of a latent cache
};

// q, y [T, H * D], of a latent cache [T, H * L]; y may be q. Keys and values of the new tokens are in the cache already (store_kv). Uses
// the cache's scratch: one call per cache at a time. Throws std::invalid_argument when a shape, a length or a block id does not fit. Layers
// of one step share a plan instead (attention_plan.h); this makes one for itself.
void paged_attention(Matrix<const float> q, const KVCache& cache, int layer, const PagedAttention& attention, Matrix<float> y,
                     cpu::ThreadPool& pool);

}  // namespace octavo
