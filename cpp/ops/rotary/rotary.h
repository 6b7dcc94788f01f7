// Rotary position embedding (Su et al., arXiv:2104.09864), GPT-NeoX layout: the halves of the first `rotary_dim` of a head rotate,
//
//   y1 = x1 cos - x2 sin      y2 = x2 cos + x1 sin
//
// and the rest of the head is copied.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// x, y [T, n * head_dim], y may be x; positions [T]; cos_sin [max_model_len, rotary_dim]: rotary_dim / 2 cosines, then as many
// sines; rotary_dim even, <= head_dim. Throws std::invalid_argument for a position outside the table.
void rotary_embedding(Matrix<const float> x, Span<const std::int32_t> positions, Matrix<const float> cos_sin, int head_dim, Matrix<float> y,
                      cpu::ThreadPool& pool);

// The rotation of each token whose position has several axes (Wang et al., arXiv:2409.12191): angle i turns with axis axes[i].
// positions [T, A]; cos_sin [P, 2 * C]: C cosines, then as many sines; axes [C] whole numbers in 0..A-1; y [T, 2 * C], made up of columns
// i and C + i of row positions[t, axes[i]]. Throws std::invalid_argument for a position or an axis that there is not.
void axis_rotation(Matrix<const std::int32_t> positions, Matrix<const float> cos_sin, Span<const float> axes, Matrix<float> y,
                   cpu::ThreadPool& pool);

// y = x, each head rotated by its token's row of rotation [T, 2 * C], 2 * C <= head_dim; y may be x.
void rotate(Matrix<const float> x, Matrix<const float> rotation, int head_dim, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
