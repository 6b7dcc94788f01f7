#include "ops/moe/routing.h"

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

template <typename T>
void grow(std::vector<T>& values, std::int64_t size) {
  values.resize(std::max(values.size(), static_cast<std::size_t>(size)));
}

}  // namespace

void Routing::reserve(std::int64_t num_tokens, int num_experts, int top_k) {
  grow(experts_, num_tokens * top_k);
  grow(weights_, num_tokens * top_k);
  grow(rows_, num_tokens * top_k);
  grow(first_rows_, num_experts + 1);
  grow(next_rows_, num_experts);
}

void Routing::route(Matrix<const float> router_logits, int top_k, bool renormalise, cpu::ThreadPool& pool) {
  const std::int64_t num_tokens = router_logits.rows;
  const int num_experts = static_cast<int>(router_logits.cols);
  require(top_k >= 1 && top_k <= num_experts, "moe: top_k is ", top_k, "; it must be from 1 to the ", num_experts, " experts");
  require(
      static_cast<std::size_t>(num_tokens * top_k) <= experts_.size() && router_logits.cols < static_cast<std::int64_t>(first_rows_.size()),
      "moe: no room was reserved for ", num_tokens, " tokens and ", num_experts, " experts");
  top_k_ = top_k;
  cpu::for_row_ranges(pool, num_tokens, kElementsPerLogit * num_experts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      std::int32_t* best = experts_.data() + token * top_k;
      rank(router_logits.row(token), num_experts, top_k, best);
      weigh(router_logits.row(token), num_experts, top_k, renormalise, best, weights_.data() + token * top_k);
    }
  });
  assign_rows(num_tokens, num_experts);
}

// A counting sort by expert.
void Routing::assign_rows(std::int64_t num_tokens, int num_experts) {
  const std::int64_t num_rows = num_tokens * top_k_;
  std::fill_n(first_rows_.begin(), num_experts + 1, 0);
  for (std::int64_t index = 0; index < num_rows; ++index)
    ++first_rows_[static_cast<std::size_t>(experts_[static_cast<std::size_t>(index)]) + 1];
  for (int expert = 0; expert < num_experts; ++expert) {
    const auto at = static_cast<std::size_t>(expert);
    next_rows_[at] = first_rows_[at];
    first_rows_[at + 1] += first_rows_[at];
  }
  for (std::int64_t index = 0; index < num_rows; ++index) {
    const auto at = static_cast<std::size_t>(index);
    rows_[at] = next_rows_[static_cast<std::size_t>(experts_[at])]++;
  }
}

}  // namespace octavo
