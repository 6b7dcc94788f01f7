// Layers that keep a state per sequence instead of every token: a causal convolution, the selective scan of Mamba-2, the gated delta rule,
// and the gated norm behind both.
//
// A state is a row of floats for each running sequence. A sequence whose first token is computed begins with zeros, so a row needs no
// clearing between two sequences. What a call leaves in a row is what the next tokens of the sequence go on from; as states are kept in
// float32 and every sum has one order, a sequence's bits do not depend on how it is cut into steps or on its neighbours.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// Which tokens of a step belong to which state. R sequences.
struct StateStep {
  Span<const std::int32_t> query_indptr;  // [R + 1]: rows of the operands of each sequence, ascending from 0 to T
  Span<const std::int32_t> context_lens;  // [R]: tokens of each sequence, those of the step included
  Span<const std::int32_t> rows;          // [R]: the row of the states of each sequence, all different
};

// y[t, c] = act(bias[c] + sum over k ascending of w[k, c] * x[t - K + 1 + k, c]), act the SiLU; tokens before the sequence's first are
// zeros. x, y [T, C], w [K, C], bias [C] or null, states [rows, (K - 1) * C]: the last K - 1 tokens, oldest first.
void causal_conv(Matrix<const float> x, Matrix<const float> w, const float* bias, const StateStep& step, Matrix<float> states,
                 Matrix<float> y, cpu::ThreadPool& pool);

// Mamba-2 (Dao & Gu, arXiv:2405.21060). For each head h of group g = h / (H / G), with dt = clamp(log(1 + e^(dt[t, h] + bias[h]))):
//
//   S = e^(dt a[h]) S + dt B[t, g] x[t, h]^T            y[t, h] = S^T C[t, g] + d[h] x[t, h]
//
// x, y [T, H * P], B, C [T, G * N], dt [T, H], states [rows, H * N * P16], P16 = P rounded up to 16.
struct SsmScan {
  Matrix<const float> x, b, c, dt;
  const float *a, *dt_bias, *d;  // [H] each
  int num_heads, num_groups;
  float dt_min, dt_max;
};
void ssm_scan(const SsmScan& scan, const StateStep& step, Matrix<float> states, Matrix<float> y, cpu::ThreadPool& pool);

// The gated delta rule (Yang et al., arXiv:2412.06464). For each value head h of key head g = h / (Hv / Hk), with
// decay = e^(a[h] log(1 + e^(dt[t, h] + bias[h]))) and beta = 1 / (1 + e^-b[t, h]):
//
//   S = decay S + k[t, g] (beta (v[t, h] - (decay S)^T k[t, g]))^T            y[t, h] = S^T q[t, g]
//
// q, k [T, Hk * D], v, y [T, Hv * P], b, dt [T, Hv], states [rows, Hv * D * P16].
struct DeltaRule {
  Matrix<const float> q, k, v, b, dt;
  const float *a, *dt_bias;  // [Hv] each
  int num_heads, num_key_heads;
};
void delta_rule(const DeltaRule& rule, const StateStep& step, Matrix<float> states, Matrix<float> y, cpu::ThreadPool& pool);

// y = norm(x * silu(gate)), or norm(x) * silu(gate) if norm_first; norm divides each group of columns by its root mean square (eps added
// to the mean square) and multiplies by weight, of a whole row or of one group. x, gate, y [T, C].
struct GatedNorm {
  Span<const float> weight;
  std::int64_t group_size;  // columns; C is a multiple of it
  float eps;
  bool norm_first;
};
void gated_rms_norm(Matrix<const float> x, Matrix<const float> gate, const GatedNorm& norm, Matrix<float> y, cpu::ThreadPool& pool);

constexpr std::int64_t padded_state_cols(std::int64_t cols) { return (cols + 15) / 16 * 16; }

}  // namespace octavo
