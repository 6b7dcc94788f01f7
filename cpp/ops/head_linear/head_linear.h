// A matrix for each head: the products by which multi-head latent attention (DeepSeek-V2, arXiv:2405.04434) moves queries into the space
// of its cache and results out of it.
//
//   y[t, h * N + n] = sum over k ascending of x[t, h * K + k] * W[h, k, n]
//
// A row's bits do not depend on the other rows.
#pragma once
#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// x [T, H * K], w [H * K, N] (the heads' matrices one after the other), y [T, H * N], overlapping nothing. Throws std::invalid_argument
// when shapes disagree.
void head_linear(Matrix<const float> x, Matrix<const float> w, std::int64_t num_heads, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
