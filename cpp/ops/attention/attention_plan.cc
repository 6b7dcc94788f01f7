#include "ops/attention/attention_plan.h"

#include <algorithm>

#include "ops/attention/attention_kernels.h"

namespace octavo {
namespace {

// A unit is split when it costs more than this part of what one thread has to do.
constexpr std::int64_t kMinUnitsPerThread = 4;

RequestPlan plan_request(const PagedAttention& attention, const KVCache& cache, std::int64_t request) {
  RequestPlan plan{};
  const std::int64_t num_queries = attention.query_indptr[request + 1] - attention.query_indptr[request];
  plan.request = request;
  plan.first_row = attention.query_indptr[request];
  plan.num_rows = num_queries * (attention.num_heads / cache.num_kv_heads());
  plan.num_tiles = (plan.num_rows + kTileRows - 1) / kTileRows;
  plan.context_len = attention.context_lens[request];
  plan.first_position = plan.context_len - num_queries;
  const std::int64_t first_seen = attention.window ? std::max<std::int64_t>(0, plan.first_position - *attention.window + 1) : 0;
  plan.first_segment = first_seen / kSegmentTokens;
  plan.num_segments = (plan.context_len + kSegmentTokens - 1) / kSegmentTokens - plan.first_segment;
  return plan;
}

std::int64_t unit_cost(const RequestPlan& plan) { return std::min<std::int64_t>(plan.num_rows, kTileRows) * plan.num_segments; }

}  // namespace

void TaskList::add(const RequestPlan& plan, std::int64_t num_tasks) {
  plans_[num_plans_] = plan;
  plans_[num_plans_++].first_task = num_tasks_;
  num_tasks_ += num_tasks;
}

const RequestPlan& TaskList::request_of(std::int64_t task) const {
  const auto starts_after = [](std::int64_t index, const RequestPlan& plan) { return index < plan.first_task; };
  return *(std::upper_bound(plans_, plans_ + num_plans_, task, starts_after) - 1);
}

AttentionPlan::AttentionPlan(const PagedAttention& attention, const KVCache& cache, std::int64_t first_request, int num_threads) {
  const std::int64_t end = std::min<std::int64_t>(attention.context_lens.size, first_request + kMaxPlannedRequests);
  std::int64_t total_cost = 0;
  for (std::int64_t request = first_request; request < end; ++request) {
    const RequestPlan plan = plan_request(attention, cache, request);
    total_cost += unit_cost(plan) * plan.num_tiles * cache.num_kv_heads();
  }
  for (std::int64_t request = first_request; request < end; ++request) {
    const RequestPlan plan = plan_request(attention, cache, request);
    const std::int64_t num_units = plan.num_tiles * cache.num_kv_heads();
    if (num_units == 0) continue;
    const bool too_long = unit_cost(plan) * num_threads * kMinUnitsPerThread > total_cost;
    if (num_threads > 1 && plan.num_segments > 1 && too_long) {
      split.add(plan, num_units * plan.num_segments);
    } else {
      whole.add(plan, num_units);
    }
  }
}

}  // namespace octavo
