// Attention of whole sequences to themselves, both ways and without a cache: what encoders do (Vaswani et al. 2017; Devlin et al. 2018).
//
//   y[t, h] = softmax_j(scale * q[t, h] . k[j, h / (H / K)]) . v[j, h / (H / K)]     over tokens j of t's sequence, |j - t| <= max_distance
//
// Sequences of any lengths stand one after the other (query_indptr); nothing is padded. A row's bits depend on its own sequence only:
// softmax by segments of 128 tokens, merged in ascending order, as in attention.h, by the same kernels.
#pragma once
#include <cstdint>
#include <optional>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

struct SequenceAttention {
  Span<const std::int32_t> query_indptr;  // [R + 1]: tokens of each sequence, ascending from 0 to T
  int num_heads = 0;                      // H, a multiple of num_kv_heads
  int num_kv_heads = 0;                   // K
  float scale = 1.0f;
  std::optional<int> max_distance = std::nullopt;  // >= 0; none: a token sees its whole sequence
};

// Bytes that `scratch` needs for steps of at most so many tokens and sequences.
std::int64_t sequence_attention_bytes(std::int64_t max_tokens, std::int64_t max_sequences, int num_kv_heads, int head_dim);

// q, y [T, H * D]; k, v [T, K * D]; y overlaps none of them. scratch: as many bytes as above, aligned to 64. Throws
// std::invalid_argument when a shape does not fit.
void sequence_attention(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const SequenceAttention& attention,
                        Matrix<float> y, std::uint8_t* scratch, cpu::ThreadPool& pool);

}  // namespace octavo
