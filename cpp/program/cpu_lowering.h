// How an op becomes a call on a processor. `lower_cpu` of an OpDef gets a CpuLowering, looks at the op's operands once, and gives the
// call that is made in every step; the call gets a CpuFrame, which knows where the step's values lie.
//
//   void lower_rms_norm(CpuLowering& op) {
//     const ValueId x = op.read(0), y = op.write(0);
//     const Span<const float> weight = op.weight<ArrayWeight>(0).values();
//     const auto eps = static_cast<float>(op.attributes().number("eps"));
//     op.run([=](const CpuFrame& f) { rms_norm(f[x], weight, eps, f[y], f.pool); });
//   }
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/tensor_view.h"
#include "cpu/read_ahead.h"
#include "cpu/thread_pool.h"
#include "ops/attention/kv_cache.h"
#include "program/arena.h"
#include "program/graph.h"
#include "program/step_arrays.h"

namespace octavo::program {

// Where the values of a program lie, and how many rows they have in the step that is being computed.
struct CpuMemory {
  struct Place {
    std::uint8_t* data;
    std::int64_t cols;
    std::int64_t stride;  // in elements
    int rows;             // index into `rows`
    std::int64_t rows_factor;
  };
  std::vector<Place> places;           // of Graph::values
  std::vector<std::uint8_t*> scratch;  // in the order in which the lowerings asked for it
  std::vector<std::int64_t> rows;      // of Graph::row_counts, in this step
  std::vector<Matrix<float>> states;   // of Graph::states: a row for each sequence that may run
};

// A program bound to one step.
struct CpuFrame {
  const StepArrays& step;
  cpu::ThreadPool& pool;
  const CpuMemory& memory;
  cpu::ReadAhead ahead = {};  // what the call may fetch on the side

  Matrix<float> operator[](ValueId x) const { return matrix<float>(x); }
  Matrix<std::int32_t> ints(ValueId x) const { return matrix<std::int32_t>(x); }
  Matrix<float> states(std::int64_t index) const { return memory.states[static_cast<std::size_t>(index)]; }
  std::uint8_t* scratch(int index) const { return memory.scratch[static_cast<std::size_t>(index)]; }

 private:
  template <typename T>
  Matrix<T> matrix(ValueId x) const {
    const CpuMemory::Place& place = memory.places[static_cast<std::size_t>(x)];
    const std::int64_t rows = memory.rows[static_cast<std::size_t>(place.rows)] * place.rows_factor;
    return {reinterpret_cast<T*>(place.data), rows, place.cols, place.stride};
  }
};

// What depends on the step and not on the layer, computed once at the beginning of a step for all the calls that share it.
class CpuPlan {
 public:
  virtual ~CpuPlan() = default;
  virtual void prepare(const StepArrays& step) = 0;
};

struct CpuCall {
  std::function<void(const CpuFrame&)> run;
  std::int64_t multiplications = 0;  // per token, of a linear op: such a call can fetch on the side what attention reads next
  bool reads_cache = false;
};

class CpuLowering {
 public:
  // What the lowerings of one program share.
  struct Shared {
    const Graph& graph;
    cpu::ThreadPool& pool;
    const std::vector<std::shared_ptr<KVCache>>& caches;  // one for each group
    const std::map<std::string, std::int64_t>& row_limits;
    std::vector<Scratch> scratch = {};
    std::int64_t pool_scratch_bytes = 0;
    std::map<std::string, std::unique_ptr<CpuPlan>> plans = {};
  };
  CpuLowering(Shared& shared, int index) : shared_(shared), index_(index), op_(shared.graph.ops[static_cast<std::size_t>(index)]) {}

  const Attributes& attributes() const { return op_.attributes; }
  ValueId read(std::size_t i) const { return op_.reads.at(i); }
  ValueId write(std::size_t i) const { return op_.writes.at(i); }
  std::int64_t cols(ValueId x) const { return shared_.graph.values[static_cast<std::size_t>(x)].cols; }
  // The most rows that a value has in any step.
  std::int64_t max_rows(ValueId x) const {
    const Storage& storage = shared_.graph.storage_of(x);
    return shared_.row_limits.at(shared_.graph.row_counts[static_cast<std::size_t>(storage.rows)]) * storage.rows_factor;
  }
  bool is_of_tokens(ValueId x) const {
    return shared_.graph.row_counts[static_cast<std::size_t>(shared_.graph.storage_of(x).rows)] == "tokens";
  }
  std::int64_t max_rows(const std::string& count) const { return shared_.row_limits.at(count); }
  // The op's weight i; the graph keeps it alive. Throws std::invalid_argument for one that was placed on another device.
  template <typename W>
  const W& weight(std::size_t i) const {
    const W* weight = dynamic_cast<const W*>(op_.weights.at(i).get());
    require(weight != nullptr, op_.name, ": weight ", i, " was not placed for the processor");
    return *weight;
  }
  template <typename W>
  const W* weight_if(std::size_t i) const {
    return i < op_.weights.size() && op_.weights[i] ? &weight<W>(i) : nullptr;
  }
  // The op's cache: the pages of its group, the layer among those of the group, and the group's place in StepArrays::caches.
  KVCache& pages() const { return *shared_.caches[group()]; }
  int layer() const { return shared_.graph.cache_of(op_).layer; }
  std::size_t group() const { return static_cast<std::size_t>(shared_.graph.cache_of(op_).group); }
  std::int64_t state() const { return op_.attributes.integer("state"); }  // CpuFrame::states of it
  const CacheSpec& cache_spec() const { return shared_.graph.cache_spec_of(op_); }
  cpu::ThreadPool& pool() const { return shared_.pool; }

  // Memory in the arena while the call runs: CpuFrame::scratch of the index returned.
  int scratch(std::int64_t num_bytes) {
    shared_.scratch.push_back({index_, num_bytes});
    return static_cast<int>(shared_.scratch.size()) - 1;
  }
  // Has the pool's own scratch hold as much, so that no step allocates.
  void reserve_pool_scratch(std::int64_t num_bytes) { shared_.pool_scratch_bytes = std::max(shared_.pool_scratch_bytes, num_bytes); }
  // The plan of this name, made at its first mention; it lives as long as the program.
  template <typename Plan>
  Plan& plan(const std::string& name, const std::function<std::unique_ptr<Plan>()>& make) {
    std::unique_ptr<CpuPlan>& plan = shared_.plans[name];
    if (!plan) plan = make();
    return static_cast<Plan&>(*plan);
  }

  void run(std::function<void(const CpuFrame&)> call) { call_.run = std::move(call); }
  void multiplies(std::int64_t per_token) { call_.multiplications = per_token; }
  void reads_cache() { call_.reads_cache = true; }
  CpuCall take() { return std::move(call_); }

 private:
  Shared& shared_;
  int index_;
  const Op& op_;
  CpuCall call_;
};

}  // namespace octavo::program
