#include "ops/moe/route.h"

#include <algorithm>
#include <cmath>

#include "cpu/split.h"

namespace octavo {
namespace {

constexpr std::int64_t kElementsPerLogit = 8;  // an exponential costs about as much as touching this many
constexpr float kNever = -INFINITY;

// Insertion into the best so far: an expert passes those of smaller value, so equal ones keep the order of their ids.
void rank(const float* values, int count, int top, std::int32_t* best) {
  for (int index = 0; index < count; ++index) {
    int place = std::min(index, top);
    for (; place > 0 && values[index] > values[best[place - 1]]; --place) {
      if (place < top) best[place] = best[place - 1];
    }
    if (place < top) best[place] = index;
  }
}

// One token: its logits, the experts taken, their weights.
struct Token {
  const Routing& routing;
  const float* logits;
  int num_experts, top_k;
  std::int32_t* ids;
  float* weights;

  bool chooses_by_logits() const { return !routing.bias && (routing.num_groups == 1 || routing.group_best == 1); }

  void run() {
    if (routing.scoring == Scoring::sparsemixer) return mix();
    if (chooses_by_logits() && routing.num_groups == 1) {
      rank(logits, num_experts, top_k, ids);
    } else {
      choose();
    }
    score();
    weigh();
  }

 private:
  // The logit that softmax subtracts.
  float greatest() const { return chooses_by_logits() ? logits[ids[0]] : *std::max_element(logits, logits + num_experts); }
  float total(float shift) const {
    float sum = 0.0f;
    for (int expert = 0; expert < num_experts; ++expert) sum += std::exp(logits[expert] - shift);
    return sum;
  }
  float sigmoid(int expert) const { return 1.0f / (1.0f + std::exp(-logits[expert])); }

  void choose() {
    float ranks[kMaxExperts];
    const bool softmax = routing.scoring == Scoring::softmax;
    if (chooses_by_logits()) {
      std::copy_n(logits, num_experts, ranks);
    } else {
      const float shift = softmax ? *std::max_element(logits, logits + num_experts) : 0.0f, sum = softmax ? total(shift) : 1.0f;
      for (int expert = 0; expert < num_experts; ++expert) {
        ranks[expert] = softmax ? std::exp(logits[expert] - shift) / sum : sigmoid(expert);
        if (routing.bias) ranks[expert] += routing.bias[expert];
      }
    }
    if (routing.num_groups > 1) keep_best_groups(ranks);
    rank(ranks, num_experts, top_k, ids);
  }

  void keep_best_groups(float* ranks) const {
    float worth[kMaxExperts];
    std::int32_t best[kMaxExperts];
    const int size = num_experts / routing.num_groups;
    for (int group = 0; group < routing.num_groups; ++group) {
      const float* members = ranks + group * size;
      rank(members, size, routing.group_best, best);
      worth[group] = 0.0f;
      for (int index = 0; index < routing.group_best; ++index) worth[group] += members[best[index]];
    }
    rank(worth, routing.num_groups, routing.top_groups, best);
    for (int group = 0; group < routing.num_groups; ++group) {
      const bool kept = std::find(best, best + routing.top_groups, group) != best + routing.top_groups;
      if (!kept) std::fill_n(ranks + group * size, size, kNever);
    }
  }

  // Weights become scores, of a softmax before it is divided by its sum where that falls out again.
  void score() {
    if (routing.scoring == Scoring::sigmoid) {
      for (int index = 0; index < top_k; ++index) weights[index] = sigmoid(ids[index]);
      return;
    }
    const float shift = greatest();
    for (int index = 0; index < top_k; ++index) weights[index] = std::exp(logits[ids[index]] - shift);
    if (routing.renormalise && chooses_by_logits()) return;
    const float sum = total(shift);
    for (int index = 0; index < top_k; ++index) weights[index] /= sum;
  }

  void weigh() {
    float sum = 1.0f;
    if (routing.renormalise) {
      sum = 0.0f;
      for (int index = 0; index < top_k; ++index) sum += weights[index];
      sum = sum < routing.least_sum ? routing.least_sum : sum;
    }
    if (routing.renormalise || routing.scale != 1.0f) {
      for (int index = 0; index < top_k; ++index) weights[index] = weights[index] / sum * routing.scale;
    }
  }

  void mix() {
    for (int index = 0; index < top_k; ++index) {
      const auto is_taken = [&](int expert) { return std::find(ids, ids + index, expert) != ids + index; };
      int best = -1;
      for (int expert = 0; expert < num_experts; ++expert) {
        if (!is_taken(expert) && (best < 0 || logits[expert] > logits[best])) best = expert;
      }
      float sum = 0.0f;
      for (int expert = 0; expert < num_experts; ++expert) {
        const float distance = (logits[best] - logits[expert]) / std::max(std::fabs(logits[expert]), logits[best]);
        if (!is_taken(expert) && !(distance > 2.0f * routing.jitter)) sum += std::exp(logits[expert] - logits[best]);
      }
      ids[index] = best;
      weights[index] = 1.0f / sum;
    }
  }
};

void check(Matrix<const float> router_logits, const Routing& routing, Matrix<std::int32_t> ids, Matrix<float> weights) {
  require_same_shape("route", ids, weights);
  require(ids.rows == router_logits.rows, "route: ids have ", ids.rows, " rows, router_logits ", router_logits.rows);
  require(ids.cols >= 1 && ids.cols <= router_logits.cols, "route: top_k is ", ids.cols, "; it must be from 1 to the ", router_logits.cols,
          " experts");
  require(router_logits.cols <= kMaxExperts, "route: ", router_logits.cols, " experts, at most ", kMaxExperts);
  require(routing.num_groups >= 1 && router_logits.cols % routing.num_groups == 0, "route: ", router_logits.cols, " experts in ",
          routing.num_groups, " groups");
  const std::int64_t size = router_logits.cols / routing.num_groups;
  require(routing.top_groups >= 1 && routing.top_groups <= routing.num_groups && ids.cols <= routing.top_groups * size,
          "route: top_groups is ", routing.top_groups, " of ", routing.num_groups, " with ", size, " experts each, for a top_k of ",
          ids.cols);
  require(routing.group_best >= 1 && routing.group_best <= size, "route: group_best is ", routing.group_best, "; a group has ", size,
          " experts");
}

}  // namespace

void route(Matrix<const float> router_logits, const Routing& routing, Matrix<std::int32_t> ids, Matrix<float> weights,
           cpu::ThreadPool& pool) {
  check(router_logits, routing, ids, weights);
  const auto num_experts = static_cast<int>(router_logits.cols), top_k = static_cast<int>(ids.cols);
  cpu::for_row_ranges(pool, router_logits.rows, kElementsPerLogit * num_experts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      Token{routing, router_logits.row(token), num_experts, top_k, ids.row(token), weights.row(token)}.run();
    }
  });
}

}  // namespace octavo
