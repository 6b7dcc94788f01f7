// y = x W^T + bias, in exact float32 arithmetic on the dequantised weights.
//
// y[t, n] starts at zero, takes fma(x[t, k], w[n, k], y[t, n]) for k = 0 .. K - 1 in that order, then bias[n]; w is the value that
// dequantize() gives. No step depends on how many rows there are, on threads or on tiles, so a row's result is the same, bit for
// bit, in any batch (on one instruction set; the portable one multiplies and adds with two roundings).
#pragma once
#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "ops/linear/linear_weight.h"

namespace octavo {

// x [T, K], bias [N] or null, y [T, N]; y overlaps neither x nor bias. Throws std::invalid_argument when shapes disagree.
void linear(Matrix<const float> x, const LinearWeight& weight, const float* bias, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
