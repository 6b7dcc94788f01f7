// Attention of a decoder's tokens to what an encoder made of the sequence's own input, all of it visible to each (Vaswani et al. 2017).
//
//   y[t, h] = softmax_j(scale * q[t, h] . k[j, h]) . v[j, h]     over the M positions j of the encoder
//
// Keys and values are written once, when a sequence begins, into its row of a state: pages of 16 positions, head by head, as the KV
// cache has them (kv_page.h). A row's bits depend on its own q and state only: softmax by segments of 128 positions, merged in ascending
// order, as in attention.h, by the same kernels.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

struct CrossAttention {
  Span<const std::int32_t> query_indptr;  // [R + 1]: tokens of each sequence, ascending from 0 to T
  Span<const std::int32_t> rows;          // [R]: the row of the states of each sequence
  int num_heads = 0;                      // H
  std::int64_t num_positions = 0;         // M
  float scale = 1.0f;
};

// Floats of a sequence's keys and values.
std::int64_t cross_state_elements(int num_heads, int head_dim, std::int64_t num_positions);

// Writes k and v [M, H * D] into a row of a state, as many floats as above. Throws std::invalid_argument when a shape does not fit.
void store_cross(Matrix<const float> k, Matrix<const float> v, int num_heads, Span<float> state);

// q, y [T, H * D], D a multiple of 8; states [rows, elements as above]. Throws std::invalid_argument when a shape does not fit.
void cross_attention(Matrix<const float> q, const CrossAttention& attention, Matrix<float> states, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
