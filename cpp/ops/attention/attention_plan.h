// How one attention call is cut into tasks. A *unit* is a tile of query rows with one key/value head. Most units are one task each;
// a unit that would keep one thread busy long after the others are idle is *split*: each of its segments is a task of its own.
#pragma once
#include <cstdint>

#include "ops/attention/attention.h"

namespace octavo {

constexpr int kMaxPlannedRequests = 128;  // a plan lives on the stack; more requests take several plans

struct RequestPlan {
  std::int64_t request;
  std::int64_t first_row;  // of q
  std::int64_t num_rows;   // query tokens * heads of a group
  std::int64_t num_tiles;
  std::int64_t first_position;  // of its first query token
  std::int64_t context_len;
  std::int64_t first_segment;  // the first that any of its rows sees
  std::int64_t num_segments;
  std::int64_t first_task;
};

// Requests cut in the same way, and their tasks numbered one request after another.
class TaskList {
 public:
  void add(const RequestPlan& plan, std::int64_t num_tasks);
  std::int64_t num_tasks() const { return num_tasks_; }
  const RequestPlan& request_of(std::int64_t task) const;

 private:
  RequestPlan plans_[kMaxPlannedRequests];
  int num_plans_ = 0;
  std::int64_t num_tasks_ = 0;
};

struct AttentionPlan {
  TaskList whole;  // a task per unit
  TaskList split;  // a task per segment of a unit

  // Of at most kMaxPlannedRequests requests from first_request on.
  AttentionPlan(const PagedAttention& attention, const KVCache& cache, std::int64_t first_request, int num_threads);
};

}  // namespace octavo
