// Elementwise ops. The gated ones read [T, 2F], gates first (GLU variants, Shazeer, arXiv:2002.05202), and write [T, F].
#pragma once
#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// y[t, f] = silu(x[t, f]) * x[t, F + f], silu(z) = z / (1 + e^-z). y may be the first F columns of x.
void silu_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);

// The same with gelu(z) = z * Phi(z), Phi the standard normal distribution: z / 2 * (1 + erf(z / sqrt(2))) (Hendrycks & Gimpel,
// arXiv:1606.08415).
void gelu_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);

// Its approximation gelu(z) = z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 z^3))).
void gelu_tanh_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);

// y[t, f] = (up + 1) * gate / (1 + e^(-alpha * gate)) with gate = min(x[t, f], limit) and up = x[t, F + f] kept within +-limit (gpt-oss,
// arXiv:2508.10925). y may be the first F columns of x.
void clamped_swiglu(Matrix<const float> x, float alpha, float limit, Matrix<float> y, cpu::ThreadPool& pool);

// y = gelu(x) exact and approximate as above, x / (1 + e^-x), max(x, 0), its square, tanh(x), 1 / (1 + e^-x); y may be x.
void gelu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);
void gelu_tanh(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);
void quick_gelu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);  // x / (1 + e^(-1.702 x)), an older approximation of gelu
void silu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);
void relu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);
void relu_squared(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);
void sigmoid(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);
void tanh_of(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);

// y = factor * x; y may be x.
void scale(Matrix<const float> x, float factor, Matrix<float> y, cpu::ThreadPool& pool);

// out = x + y and x * y; out may be x or y.
void add(Matrix<const float> x, Matrix<const float> y, Matrix<float> out, cpu::ThreadPool& pool);
void mul(Matrix<const float> x, Matrix<const float> y, Matrix<float> out, cpu::ThreadPool& pool);

// y[t, c] = x[t, c] / (1 + e^-gate[t]), gate [T, 1]; y may be x.
void sigmoid_gate(Matrix<const float> x, Matrix<const float> gate, Matrix<float> y, cpu::ThreadPool& pool);

// y = cap * tanh(x / cap), cap > 0; y may be x.
void softcap(Matrix<const float> x, float cap, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
