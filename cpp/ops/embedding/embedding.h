// y[t, :] = scale * table[token_ids[t], :], and the same by position
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "weights/embedding_weight.h"

namespace octavo {

// token_ids [T], y [T, E]. Throws std::invalid_argument when shapes disagree or a token id is not a row of the table.
void embedding(Span<const std::int32_t> token_ids, const EmbeddingWeight& weight, float scale, Matrix<float> y, cpu::ThreadPool& pool);

// y[t, :] = table[positions[t] + offset, :]: positions that are learned (Gehring et al. 2017). positions [T], y [T, E]. Throws
// std::invalid_argument when shapes disagree or a position is not a row of the table.
void position_embedding(Span<const std::int32_t> positions, const EmbeddingWeight& weight, std::int64_t offset, Matrix<float> y,
                        cpu::ThreadPool& pool);

// y[i] = table row ids[i]: ids [T, 1], y [T, E]. Throws std::invalid_argument for an id that the table does not have.
void lookup(Matrix<const std::int32_t> ids, const EmbeddingWeight& weight, Matrix<float> y, cpu::ThreadPool& pool);

// y[i] = sum over j of weights[i, j] * row ids[i, j] of the table: ids [R, F] in 0..V-1, weights [R, F], y [R, E]. Throws
// std::invalid_argument for another id.
void weighted_lookup(Matrix<const std::int32_t> ids, Matrix<const float> weights, const EmbeddingWeight& weight, Matrix<float> y,
                     cpu::ThreadPool& pool);

}  // namespace octavo
