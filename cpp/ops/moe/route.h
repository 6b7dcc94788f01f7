// Which experts each token goes to, and how much each of them counts.
//
// An expert has a score s and a rank r in the choice, made of its router logit l:
//
//   softmax       s[e] = exp(l[e]) / sum over all experts of exp(l)
//   sigmoid       s[e] = 1 / (1 + exp(-l[e]))                   r[e] = s[e] + bias[e], of either
//   sparsemixer   s of the expert taken at a rank: exp(l[e]) / sum of exp(l) over the experts not taken before whose logit lies within
//                 2 * jitter of the greatest of them, relative to max(|l|, greatest) (Phi-3.5-MoE; Liu et al., arXiv:2409.12136)
//
// A token takes the top_k experts of greatest r, equal ones by lower id. Where experts stand in num_groups groups of neighbours, only
// those of its top_groups best groups can be taken; a group is worth the sum of its group_best greatest r (DeepSeek-V2,
// arXiv:2405.04434, with one; DeepSeek-V3, arXiv:2412.19437, with two). The weight of a taken expert is
//
//   scale * s[e], divided by max(sum of s over the token's own, least_sum) where weights are renormalised
//
// which without a bias is also what a softmax after the choice gives, so the families that choose first and those that renormalise
// share it (Shazeer et al., arXiv:1701.06538; Jiang et al., Mixtral, arXiv:2401.04088). Everything is float32 and depends on the
// token's own logits only; NaN logits make NaN weights.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "ops/moe/routing.h"

namespace octavo {

// router_logits [T, X] -> ids, weights [T, top_k], by rank; top_k is that of ids. Throws std::invalid_argument when shapes or groups
// disagree.
void route(Matrix<const float> router_logits, const Routing& routing, Matrix<std::int32_t> ids, Matrix<float> weights,
           cpu::ThreadPool& pool);

}  // namespace octavo
