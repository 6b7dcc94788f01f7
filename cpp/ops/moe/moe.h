// Mixture of experts: each token passes through top_k of X gated feed-forward blocks, chosen by a router (Shazeer et al.,
// arXiv:1701.06538; Jiang et al., Mixtral, arXiv:2401.04088).
//
//   y[t] = sum over ranks r = 0 .. top_k - 1, in this order, of weight[t, r] * down_e(act(gate_e(x[t])) * up_e(x[t])), e = expert[t, r]
//
// Experts and weights are those of routing.h. The rows of an expert are gathered and go through its matrices together, all threads
// on one expert, so that its weights are read once per step; no bit of y[t] depends on the other tokens, because none of linear's
// does and the sum's order is the token's own.
#pragma once
#include <vector>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "ops/moe/routing.h"
#include "weights/linear_weight.h"

namespace octavo {

struct Expert {
  const LinearWeight* gate_up;  // [2F, E], gates first
  const LinearWeight* down;     // [E, F]
};

struct MixtureOfExperts {
  std::vector<Expert> experts;  // [X], of one shape; borrowed
  int top_k;
  bool renormalise;                                                                         // whether a token's weights add up to 1
  void (*activate_and_mul)(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool);  // of ops/activation, may work in place

  std::int64_t hidden_size() const { return experts.front().down->rows(); }      // E
  std::int64_t gate_up_size() const { return experts.front().gate_up->rows(); }  // 2F
};

// Memory for one call; its contents are of no use to the caller.
struct MoeScratch {
  Matrix<float> rows;     // [T * top_k, E]: gathered inputs, then the experts' outputs
  Matrix<float> gate_up;  // [T, 2F]: an expert has at most one row per token
  Routing& routing;       // reserved for T tokens
};

// Throws std::invalid_argument unless there are experts, all of one shape [2F, E], [E, F], and top_k of them.
void check_experts(const MixtureOfExperts& layer);

// x, y [T, E], router_logits [T, X]; y overlaps none of the others. Throws std::invalid_argument when shapes disagree.
void moe(Matrix<const float> x, Matrix<const float> router_logits, const MixtureOfExperts& layer, const MoeScratch& scratch,
         Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
