// Root mean square layer normalisation (Zhang & Sennrich, arXiv:1910.07467) of each group of G = weight.size columns:
//
//   y[g] = x[g] * weight[g] / sqrt(mean(x^2 over the group) + eps)
//
// A group is the whole row, or one head of it. The sum of squares is taken in an order that depends on G only.
#pragma once
#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// x, y [T, n * G]; y may be x.
void rms_norm(Matrix<const float> x, Span<const float> weight, float eps, Matrix<float> y, cpu::ThreadPool& pool);

// sum = x + residual; y = rms_norm(sum). All [T, n * G]; sum may be x or residual, y may be any of the three others but sum.
void add_rms_norm(Matrix<const float> x, Matrix<const float> residual, Span<const float> weight, float eps, Matrix<float> y,
                  Matrix<float> sum, cpu::ThreadPool& pool);

// Layer normalisation (Ba et al., arXiv:1607.06450) of each group of G = weight.size columns:
//
//   y[g] = (x[g] - mean) * weight[g] / sqrt(mean((x - mean)^2) + eps) + bias[g]
//
// x, y [T, n * G]; y may be x; bias [G], or empty for none. Sums are taken in an order that depends on G only.
void layer_norm(Matrix<const float> x, Span<const float> weight, Span<const float> bias, float eps, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
