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

}  // namespace octavo
