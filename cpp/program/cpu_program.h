// A graph lowered to calls on a thread pool. Built once, then run for every step at any size up to its limits: no Python and no
// allocation happens in a step.
//
//   Graph -> lower_cpu of each op -> calls;  plans;  arena
//   step:   prepare the plans once -> make the calls in order, those between two attentions fetching the second one's pages
//
// Ownership: the program shares the graph (and so its weights) and the caches; it borrows the pool and, during a step, its arrays.
#pragma once
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpu/thread_pool.h"
#include "ops/attention/kv_cache.h"
#include "ops/attention/kv_read_ahead.h"
#include "program/cpu_lowering.h"
#include "program/graph.h"
#include "program/step_arrays.h"

namespace octavo::program {

class CpuProgram {
 public:
  // caches: one for each of the graph's groups. row_limits: the most rows of each count ("tokens", "logits") in a step. num_state_rows: the
  // sequences that may run side by side, of a graph with states.
  // Throws std::invalid_argument when a cache does not fit its group's spec, a limit is missing, or the processor cannot compute an op.
  CpuProgram(std::shared_ptr<const Graph> graph, cpu::ThreadPool& pool, std::vector<std::shared_ptr<KVCache>> caches,
             const std::map<std::string, std::int64_t>& row_limits, std::int64_t num_state_rows = 0);
  CpuProgram(const CpuProgram&) = delete;
  CpuProgram& operator=(const CpuProgram&) = delete;

  // Computes a step, from begin() on as soon as a thread of the pool is free. The arrays must stay until finish() returns. Both throw
  // std::invalid_argument when shapes disagree.
  void begin(const StepArrays& step);
  void finish();
  void run(const StepArrays& step) {
    begin(step);
    finish();
  }

  const Graph& graph() const { return *graph_; }
  Matrix<float> states(std::size_t index) const { return memory_.states.at(index); }  // of Graph::states: a row per sequence
  // Gives a row of every state what another row holds. Throws std::invalid_argument for rows that there are not.
  void copy_states(std::int64_t row, std::int64_t source_row);
  // A float32 output of the step that was finished last, valid until the next one begins.
  Matrix<const float> output(const std::string& name) const;
  std::int64_t max_rows(const std::string& count) const;  // of a step, as it was built for
  // Where a value lies; what tests fill inputs with and read results from.
  std::uint8_t* data_of(ValueId x) const { return memory_.places[static_cast<std::size_t>(x)].data; }
  std::int64_t num_bytes() const { return num_bytes_; }                   // of the arena
  std::map<std::string, std::pair<std::int64_t, double>> take_profile();  // op -> (calls, seconds) since the last time

 private:
  // The part of an attention's pages that a call fetches on the side: parts first .. last - 1 of `total`.
  struct AheadShare {
    std::size_t group;
    int layer;
    std::int64_t first, last, total;
  };
  struct Call {
    CpuCall call;
    std::unique_ptr<AheadShare> ahead;
    std::int64_t count = 0;  // since the profile was taken
    double seconds = 0.0;
  };

  void check_caches() const;
  void make_states(std::int64_t num_rows);
  void lower(const std::map<std::string, std::int64_t>& row_limits);
  void lay_out_memory(const std::map<std::string, std::int64_t>& row_limits, const std::vector<Scratch>& scratch);
  void plan_read_ahead();
  void check(const StepArrays& step) const;
  void bind_rows();
  cpu::ReadAhead ahead_of(const Call& call) const;
  void run_calls();
  void run_profiled(CpuFrame& frame);

  std::shared_ptr<const Graph> graph_;
  cpu::ThreadPool& pool_;
  std::vector<std::shared_ptr<KVCache>> caches_;
  std::vector<std::int64_t> row_limits_;  // of Graph::row_counts
  std::vector<Call> calls_;               // of Graph::ops
  std::map<std::string, std::unique_ptr<CpuPlan>> plans_;
  std::vector<KVReadAhead> read_aheads_;  // of the groups
  CpuMemory memory_;
  std::int64_t num_bytes_ = 0;
  std::unique_ptr<std::uint8_t, void (*)(void*)> arena_;
  std::shared_ptr<std::uint8_t> states_;
  bool profiling_;
  StepArrays step_;             // that is being computed
  std::exception_ptr failure_;  // of its calls
  struct Leader {
    CpuProgram& program;
    void operator()(std::int64_t) const { program.run_calls(); }
  } leader_{*this};
};

}  // namespace octavo::program
