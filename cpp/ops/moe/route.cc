#include "ops/moe/route.h"

#include <algorithm>
#include <cmath>

#include "cpu/split.h"

namespace octavo {
namespace {

constexpr std::int64_t kElementsPerLogit = 8;  // an exponential costs about as much as touching this many

// Insertion into the best so far: an expert passes those of smaller logit, so equal ones keep the order of their ids.
void rank(const float* logits, int num_experts, int top_k, std::int32_t* best) {
  for (int expert = 0; expert < num_experts; ++expert) {
    int place = std::min(expert, top_k);
    for (; place > 0 && logits[expert] > logits[best[place - 1]]; --place) {
      if (place < top_k) best[place] = best[place - 1];
    }
    if (place < top_k) best[place] = expert;
  }
}

void weigh(const float* logits, int num_experts, int top_k, bool renormalise, const std::int32_t* best, float* weights) {
  const float greatest = logits[best[0]];
  float total = 0.0f;
  for (int index = 0; index < top_k; ++index) {
    weights[index] = std::exp(logits[best[index]] - greatest);
    if (renormalise) total += weights[index];
  }
  if (!renormalise) {
    for (int expert = 0; expert < num_experts; ++expert) total += std::exp(logits[expert] - greatest);
  }
  for (int index = 0; index < top_k; ++index) weights[index] /= total;
}

}  // namespace

void route(Matrix<const float> router_logits, bool renormalise, Matrix<std::int32_t> ids, Matrix<float> weights, cpu::ThreadPool& pool) {
  require_same_shape("route", ids, weights);
  require(ids.rows == router_logits.rows, "route: ids have ", ids.rows, " rows, router_logits ", router_logits.rows);
  require(ids.cols >= 1 && ids.cols <= router_logits.cols, "route: top_k is ", ids.cols, "; it must be from 1 to the ", router_logits.cols,
          " experts");
  const auto num_experts = static_cast<int>(router_logits.cols), top_k = static_cast<int>(ids.cols);
  cpu::for_row_ranges(pool, router_logits.rows, kElementsPerLogit * num_experts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      const float* logits = router_logits.row(token);
      rank(logits, num_experts, top_k, ids.row(token));
      weigh(logits, num_experts, top_k, renormalise, ids.row(token), weights.row(token));
    }
  });
}

}  // namespace octavo
