// y[t, :] = scale * table[token_ids[t], :]
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "weights/embedding_weight.h"

namespace octavo {

// token_ids [T], y [T, E]. Throws std::invalid_argument when shapes disagree or a token id is not a row of the table.
void embedding(Span<const std::int32_t> token_ids, const EmbeddingWeight& weight, float scale, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
