// y = x W^T + bias, in exact float32 arithmetic on the dequantised weights, or in int8 arithmetic.
//
// Exact: y[t, n] starts at zero, takes fma(x[t, k], w[n, k], y[t, n]) for k = 0 .. K - 1 in that order, then bias[n]; w is the value that
// dequantize() gives.
//
// Int8 (weights that are codes only): x becomes 8-bit codes q with a scale for each 32 k (quantized_rows.h). For each run of k that
// shares the weight's scale and the activations', d = sum of (code - zero_point) * q in integers, and y[t, n] takes
// fma(float(d), scale_w * scale_x, y) or, where the format stores mins, d = sum of code * q and then also
// fma(min_w, scale_x * (sum of q), y): ggml's arithmetic with scales in float32.
//
// No step depends on how many rows there are, on threads or on tiles, so a row's result is the same, bit for
// bit, in any batch (on one instruction set; the portable one multiplies and adds with two roundings).
#pragma once
#include "base/tensor_view.h"
#include "cpu/read_ahead.h"
#include "cpu/thread_pool.h"
#include "weights/linear_weight.h"

namespace octavo {

// x [T, K], bias [N] or null, y [T, N]; y overlaps neither x nor bias. Where rows are many, `ahead` is fetched on the side. Throws
// std::invalid_argument when shapes disagree.
void linear(Matrix<const float> x, const LinearWeight& weight, const float* bias, Matrix<float> y, cpu::ThreadPool& pool,
            const cpu::ReadAhead& ahead = {});

}  // namespace octavo
