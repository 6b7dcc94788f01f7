// How one step's attention is cut into tasks: the same for every layer that has its keys and values in the same blocks.
//
// A *unit* is a tile of query rows with one key/value head. Most units are one task each; a unit that would keep one thread busy long
// after the others are idle is *split*: each of its segments is a task of its own.
#pragma once
#include <cstdint>
#include <vector>

#include "ops/attention/attention.h"

namespace octavo {

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
  void clear() { plans_.clear(), num_tasks_ = 0; }
  void reserve(std::int64_t num_requests) { plans_.reserve(static_cast<std::size_t>(num_requests)); }
  void add(const RequestPlan& plan, std::int64_t num_tasks);
  std::int64_t num_tasks() const { return num_tasks_; }
  const RequestPlan& request_of(std::int64_t task) const;

 private:
  std::vector<RequestPlan> plans_;
  std::int64_t num_tasks_ = 0;
};

class AttentionPlan {
 public:
  // Allocates nothing later for steps of at most max_requests requests that have queries.
  explicit AttentionPlan(std::int64_t max_requests = 0);

  // Checks and cuts a step: its arrays, heads and window count, not the scale and softcap. Throws std::invalid_argument when a length or
  // a block id does not fit.
  void prepare(const PagedAttention& attention, const KVCache& cache, int num_threads);

  const TaskList& whole() const { return whole_; }  // a task per unit
  const TaskList& split() const { return split_; }  // a task per segment of a unit

 private:
  TaskList whole_, split_;
};

// paged_attention (attention.h) by a plan that was prepared from `attention`.
void paged_attention(Matrix<const float> q, const KVCache& cache, int layer, const PagedAttention& attention, const AttentionPlan& plan,
                     Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
