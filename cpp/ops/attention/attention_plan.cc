#include "ops/attention/attention_plan.h"

#include <algorithm>

#include "ops/attention/attention_kernels.h"

namespace octavo {
namespace {

// A unit is split when it costs more than this part of what one thread has to do.
constexpr std::int64_t kMinUnitsPerThread = 4;

void check_request(const PagedAttention& attention, const KVCache& cache, std::int64_t request) {
  const std::int64_t num_queries = attention.query_indptr[request + 1] - attention.query_indptr[request];
  const std::int64_t context_len = attention.context_lens[request];
  require(num_queries >= 0, "paged_attention: query_indptr descends at ", request);
  require(context_len >= num_queries, "paged_attention: context_lens[", request, "] is ", context_len, ", with ", num_queries,
          " new tokens");
  const std::int64_t num_blocks = (context_len + cache.block_size() - 1) / cache.block_size();
  require(num_blocks <= attention.block_tables.cols, "paged_attention: ", context_len, " tokens do not fit in a block table of ",
          attention.block_tables.cols, " blocks");
  const std::int32_t* table = attention.block_tables.row(request);
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    require(table[block] >= 0 && table[block] < cache.num_blocks(), "paged_attention: block_tables[", request, "][", block, "] is ",
            table[block], "; the cache has ", cache.num_blocks(), " blocks");
  }
}

void check(const PagedAttention& attention, const KVCache& cache) {
  const std::int64_t num_requests = attention.context_lens.size;
  require(attention.num_heads >= 1 && attention.num_heads % cache.num_kv_heads() == 0, "paged_attention: ", attention.num_heads,
          " heads are not a multiple of ", cache.num_kv_heads(), " key/value heads");
  require(!attention.window || *attention.window >= 1, "paged_attention: window must be at least 1");
  require(attention.query_indptr.size == num_requests + 1 && attention.block_tables.rows == num_requests,
          "paged_attention: query_indptr, context_lens and block_tables speak of different numbers of requests");
  for (std::int64_t request = 0; request < num_requests; ++request) check_request(attention, cache, request);
}

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
  plans_.push_back(plan);
  plans_.back().first_task = num_tasks_;
  num_tasks_ += num_tasks;
}

const RequestPlan& TaskList::request_of(std::int64_t task) const {
  const auto starts_after = [](std::int64_t index, const RequestPlan& plan) { return index < plan.first_task; };
  return *(std::upper_bound(plans_.begin(), plans_.end(), task, starts_after) - 1);
}

AttentionPlan::AttentionPlan(std::int64_t max_requests) {
  whole_.reserve(max_requests);
  split_.reserve(max_requests);
}

void AttentionPlan::prepare(const PagedAttention& attention, const KVCache& cache, int num_threads) {
  check(attention, cache);
  whole_.clear();
  split_.clear();
  std::int64_t total_cost = 0;
  for (std::int64_t request = 0; request < attention.context_lens.size; ++request) {
    const RequestPlan plan = plan_request(attention, cache, request);
    total_cost += unit_cost(plan) * plan.num_tiles * cache.num_kv_heads();
  }
  for (std::int64_t request = 0; request < attention.context_lens.size; ++request) {
    const RequestPlan plan = plan_request(attention, cache, request);
    const std::int64_t num_units = plan.num_tiles * cache.num_kv_heads();
    if (num_units == 0) continue;
    const bool too_long = unit_cost(plan) * num_threads * kMinUnitsPerThread > total_cost;
    if (num_threads > 1 && plan.num_segments > 1 && too_long) {
      split_.add(plan, num_units * plan.num_segments);
    } else {
      whole_.add(plan, num_units);
    }
  }
}

}  // namespace octavo
