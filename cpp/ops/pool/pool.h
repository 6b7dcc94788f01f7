// One vector for each sequence of a step, made of those of its tokens (Reimers & Gurevych 2019, "Sentence-BERT").
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

enum class Pooling : std::uint8_t {
  last,  // the last token's
  cls,   // the first token's
  mean,  // their mean; sums are taken in order, in float32
};

// x [T, E], query_indptr [R + 1]: tokens of each sequence, at least one; y [R, E], not overlapping x. Only the tokens of this step count.
// Throws std::invalid_argument when shapes disagree.
void pool_sequences(Matrix<const float> x, Span<const std::int32_t> query_indptr, Pooling pooling, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
