// Mixture of experts: each token passes through top_k of X gated feed-forward blocks, chosen by a router (route.h; Shazeer et al.,
// arXiv:1701.06538; Jiang et al., Mixtral, arXiv:2401.04088).
//
//   y[t] = sum over ranks r = 0 .. top_k - 1, in this order, of weights[t, r] * down_e(act(gate_e(x[t])) * up_e(x[t])), e = ids[t, r]
//
// or, where the weights are the inputs' (Llama 4), down_e(act(gate_e(w x[t])) * up_e(w x[t])) with w = weights[t, r].
//
// The rows of an expert are gathered and go through its matrices together, all threads on one expert, so that its weights are read once
// per step; no bit of y[t] depends on the other tokens, because none of linear's does and the sum's order is the token's own.
#pragma once
#include <cstdint>
#include <functional>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "weights/experts_weight.h"

namespace octavo {

// Of ops/activation; may work in place.
using ActivateAndMul = std::function<void(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool)>;

// What one call computes.
struct Experts {
  Matrix<const std::int32_t> ids;  // [T, top_k], each below X
  Matrix<const float> weights;     // [T, top_k]
  const ExpertsWeight& blocks;
  ActivateAndMul activate_and_mul;
  const float* gate_up_bias = nullptr;  // [X, 2F]; null: none
  const float* down_bias = nullptr;     // [X, E]; null: none
  bool weighs_input = false;
};

// Memory for one call; its contents are of no use to the caller.
struct ExpertsScratch {
  Matrix<float> rows;        // [T * top_k, E]: gathered inputs by expert, then the experts' outputs
  Matrix<float> gate_up;     // [T, 2F]: an expert has at most one row per token
  std::int32_t* places;      // [T * top_k]: the row of `rows` that belongs to each rank of each token
  std::int32_t* first_rows;  // [X + 2]: where each expert's rows begin

  static std::int64_t num_bytes(std::int64_t num_tokens, std::int64_t top_k, const ExpertsWeight& blocks);
  // Laid out in `memory`, aligned to 64 bytes, of num_bytes.
  static ExpertsScratch in(std::uint8_t* memory, std::int64_t num_tokens, std::int64_t top_k, const ExpertsWeight& blocks);
};

// x, y [T, E], overlapping nothing else. Throws std::invalid_argument when shapes disagree or an id is not below X.
void run_experts(Matrix<const float> x, const Experts& experts, const ExpertsScratch& scratch, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
