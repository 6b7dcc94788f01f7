// Which experts each token goes to, and how much each of them counts.
//
// A token takes the top_k experts of greatest router logit l, ranked by logit, equal ones by lower id. The weight of expert e is
//
//   exp(l[e]) / sum over s in S of exp(l[s])
//
// with S all experts, or the token's own where weights are renormalised. The latter is also what a softmax after the choice gives,
// so the families that choose first and those that renormalise share it (Shazeer et al., arXiv:1701.06538; Jiang et al., Mixtral,
// arXiv:2401.04088). Everything is float32 and depends on the token's own logits only; NaN logits make NaN weights.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// router_logits [T, X] -> ids, weights [T, top_k], by rank; top_k is that of ids. Throws std::invalid_argument when shapes disagree.
void route(Matrix<const float> router_logits, bool renormalise, Matrix<std::int32_t> ids, Matrix<float> weights, cpu::ThreadPool& pool);

}  // namespace octavo
