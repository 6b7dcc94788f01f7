// Which experts each token goes to, and which rows each expert gets.
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
#include <vector>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// The tables of one call; reused by the next, so that running allocates nothing.
class Routing {
 public:
  // Makes room for calls of at most these sizes.
  void reserve(std::int64_t num_tokens, int num_experts, int top_k);

  // Fills the tables from router logits [T, X]. Throws std::invalid_argument when they are larger than what was reserved.
  void route(Matrix<const float> router_logits, int top_k, bool renormalise, cpu::ThreadPool& pool);

  int top_k() const { return top_k_; }
  // Rows [first_row(e), first_row(e + 1)) of the gathered matrix [T * top_k, ...] are those of expert e, by token.
  std::int64_t first_row(int expert) const { return first_rows_[static_cast<std::size_t>(expert)]; }
  const std::int64_t* rows_of(std::int64_t token) const { return rows_.data() + token * top_k_; }  // [top_k], by rank
  const float* weights_of(std::int64_t token) const { return weights_.data() + token * top_k_; }   // [top_k], by rank

 private:
  void assign_rows(std::int64_t num_tokens, int num_experts);

  int top_k_ = 0;
  std::vector<std::int32_t> experts_;     // [T, top_k]
  std::vector<float> weights_;            // [T, top_k]
  std::vector<std::int64_t> rows_;        // [T, top_k]
  std::vector<std::int64_t> first_rows_;  // [X + 1]
  std::vector<std::int64_t> next_rows_;   // [X]
};

}  // namespace octavo
