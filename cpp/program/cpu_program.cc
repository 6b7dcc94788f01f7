#include "program/cpu_program.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "cpu/huge_pages.h"
#include "program/arena.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

constexpr std::int64_t kAlignment = 64;  // a cache line, and the widest vector

// How many rows a count has in a step. Throws for a count that a step of tokens does not have.
std::int64_t rows_in(const StepArrays& step, const std::string& count) {
  if (count == "tokens") return step.token_ids.size;
  if (count == "logits") return step.logits_indices.size;
  if (count == "media") return step.num_media;
  require(count == "sequences", "program: a step has no rows of ", count);
  return step.context_lens.size;
}

}  // namespace

CpuProgram::CpuProgram(std::shared_ptr<const Graph> graph, cpu::ThreadPool& pool, std::vector<std::shared_ptr<KVCache>> caches,
                       const std::map<std::string, std::int64_t>& row_limits, std::int64_t num_state_rows)
    : graph_(std::move(graph)), pool_(pool), caches_(std::move(caches)), arena_(nullptr, std::free) {
  const char* flag = std::getenv("OCTAVO_PROFILE");
  profiling_ = flag && std::string(flag) == "1";
  check_caches();
  for (const std::string& count : graph_->row_counts) {
    rows_in({}, count);
    const auto limit = row_limits.find(count);
    require(limit != row_limits.end() && limit->second >= 1, "program: the most rows of ", count, " in a step are not given");
    row_limits_.push_back(limit->second);
  }
  make_states(num_state_rows);
  lower(row_limits);
  plan_read_ahead();
}

// ---- building -----------------------------------------------------------------------------------------------------------------

void CpuProgram::check_caches() const {
  require(caches_.size() == graph_->cache_groups.size(), "program: ", caches_.size(), " caches for ", graph_->cache_groups.size(),
          " groups");
  for (std::size_t i = 0; i < caches_.size(); ++i) {
    const CacheGroup& group = graph_->cache_groups[i];
    const KVCache& cache = *caches_[i];
    require(cache.num_layers() == group.num_layers && cache.num_kv_heads() == group.spec.kv_heads &&
                cache.head_dim() == group.spec.head_dim && cache.latent_dim() == group.spec.latent_dim,
            "program: cache ", i, " has ", cache.num_layers(), " layers of ", cache.num_kv_heads(), " heads of ", cache.head_dim(),
            ", its group ", group.num_layers, " of ", group.spec.kv_heads, " of ", group.spec.head_dim);
  }
}

// Zeroed memory that is not touched before a row is used.
void CpuProgram::make_states(std::int64_t num_rows) {
  if (graph_->states.empty()) return;
  require(num_rows >= 1, "program: the number of rows of its states is not given");
  const auto aligned = [](std::int64_t elements) { return (elements + 15) / 16 * 16; };
  std::int64_t total = 0;
  for (std::int64_t elements : graph_->states) total += num_rows * aligned(elements);
  states_ = cpu::huge_page_memory(total * static_cast<std::int64_t>(sizeof(float)));
  float* next = reinterpret_cast<float*>(states_.get());
  for (std::int64_t elements : graph_->states) {
    memory_.states.push_back({next, num_rows, elements, aligned(elements)});
    next += num_rows * aligned(elements);
  }
}

void CpuProgram::lower(const std::map<std::string, std::int64_t>& row_limits) {
  CpuLowering::Shared shared{*graph_, pool_, caches_, row_limits};
  for (int index = 0; index < static_cast<int>(graph_->ops.size()); ++index) {
    const std::string& name = graph_->ops[static_cast<std::size_t>(index)].name;
    const OpDef& def = op_def(name);
    require(def.lower_cpu != nullptr, "program: the processor cannot compute ", name);
    CpuLowering lowering(shared, index);
    def.lower_cpu(lowering);
    calls_.push_back({lowering.take(), nullptr});
  }
  plans_ = std::move(shared.plans);
  pool_.scratch(shared.pool_scratch_bytes);
  lay_out_memory(row_limits, shared.scratch);
}

void CpuProgram::lay_out_memory(const std::map<std::string, std::int64_t>& row_limits, const std::vector<Scratch>& scratch) {
  const ArenaLayout layout = lay_out(*graph_, row_limits, sizeof(float), kAlignment, scratch);
  num_bytes_ = layout.num_bytes;
  arena_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(num_bytes_))));
  if (!arena_) throw std::runtime_error(concat("program: no memory for ", num_bytes_, " bytes of activations"));
  for (const Value& value : graph_->values) {
    const Storage& storage = graph_->storages[static_cast<std::size_t>(value.storage)];
    const std::int64_t offset = layout.storage_offsets[static_cast<std::size_t>(value.storage)] + value.first_col * 4;
    memory_.places.push_back({arena_.get() + offset, value.cols, storage.cols, storage.rows, storage.rows_factor});
  }
  for (std::int64_t offset : layout.scratch_offsets) memory_.scratch.push_back(arena_.get() + offset);
  memory_.rows.resize(graph_->row_counts.size());
}

// The linear ops between one attention and the next fetch what the latter reads, each as much as its share of their work.
void CpuProgram::plan_read_ahead() {
  for (std::size_t group = 0; group < caches_.size(); ++group) {
    const std::optional<std::int64_t> window = graph_->cache_groups[group].spec.window;
    read_aheads_.emplace_back(*caches_[group], window ? std::optional<int>(static_cast<int>(*window)) : std::nullopt);
  }
  std::size_t begin = 0;
  for (std::size_t reader = 0; reader < calls_.size(); ++reader) {
    if (!calls_[reader].call.reads_cache) continue;
    const Cache& cache = graph_->cache_of(graph_->ops[reader]);
    std::int64_t total = 0, done = 0;
    for (std::size_t index = begin; index < reader; ++index) total += calls_[index].call.multiplications;
    for (std::size_t index = begin; index < reader; ++index) {
      const std::int64_t work = calls_[index].call.multiplications;
      if (work > 0) {
        calls_[index].ahead =
            std::make_unique<AheadShare>(AheadShare{static_cast<std::size_t>(cache.group), cache.layer, done, done + work, total});
      }
      done += work;
    }
    begin = reader + 1;
  }
}

// ---- running ------------------------------------------------------------------------------------------------------------------

void CpuProgram::check(const StepArrays& step) const {
  const std::int64_t tokens = step.token_ids.size;
  for (std::size_t i = 0; i < row_limits_.size(); ++i) {
    const std::int64_t rows = rows_in(step, graph_->row_counts[i]);
    require(rows <= row_limits_[i], "program: ", rows, " rows of ", graph_->row_counts[i], ", at most ", row_limits_[i]);
  }
  require(step.positions.size == tokens, "program: positions need ", tokens, " entries");
  require(step.query_indptr.size == step.context_lens.size + 1,
          "program: query_indptr and context_lens disagree on the number of sequences");
  require(graph_->states.empty() || step.rows.size == step.context_lens.size,
          "program: rows and context_lens disagree on the number of sequences");
  require(step.caches.size == static_cast<std::int64_t>(caches_.size()), "program: arrays for ", step.caches.size,
          " groups of caches, not ", caches_.size());
  for (std::int64_t group = 0; group < step.caches.size; ++group) {
    require(step.caches[group].slot_mapping.size == tokens, "program: slot_mapping needs ", tokens, " entries");
    require(step.caches[group].block_tables.rows == step.context_lens.size,
            "program: block_tables and context_lens disagree on the number of sequences");
  }
}

void CpuProgram::begin(const StepArrays& step) {
  check(step);
  step_ = step;
  pool_.begin(leader_);
}

void CpuProgram::finish() {
  pool_.finish();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void CpuProgram::copy_states(std::int64_t row, std::int64_t source_row) {
  for (const Matrix<float>& states : memory_.states) {
    require(row >= 0 && row < states.rows && source_row >= 0 && source_row < states.rows, "program: rows ", row, " and ", source_row,
            " of ", states.rows);
    if (row != source_row) std::copy_n(states.row(source_row), states.cols, states.row(row));
  }
}

Matrix<const float> CpuProgram::output(const std::string& name) const {
  const auto found = graph_->outputs.find(name);
  require(found != graph_->outputs.end(), "program: it has no output ", name);
  return CpuFrame{step_, pool_, memory_}[found->second];
}

std::int64_t CpuProgram::max_rows(const std::string& count) const {
  for (std::size_t i = 0; i < row_limits_.size(); ++i) {
    if (graph_->row_counts[i] == count) return row_limits_[i];
  }
  return 0;
}

void CpuProgram::run_calls() try {
  for (std::size_t i = 0; i < row_limits_.size(); ++i) memory_.rows[i] = rows_in(step_, graph_->row_counts[i]);
  for (std::size_t group = 0; group < read_aheads_.size(); ++group) {
    read_aheads_[group].list(step_.query_indptr, step_.context_lens, step_.caches[static_cast<std::int64_t>(group)].block_tables);
  }
  for (const auto& plan : plans_) plan.second->prepare(step_);
  CpuFrame frame{step_, pool_, memory_};
  if (profiling_) return run_profiled(frame);
  for (const Call& call : calls_) {
    frame.ahead = ahead_of(call);
    call.call.run(frame);
  }
} catch (...) {
  failure_ = std::current_exception();
}

cpu::ReadAhead CpuProgram::ahead_of(const Call& call) const {
  if (!call.ahead) return {};
  const AheadShare& share = *call.ahead;
  return read_aheads_[share.group].of_layer(share.layer).share(share.first, share.last, share.total);
}

void CpuProgram::run_profiled(CpuFrame& frame) {
  using Clock = std::chrono::steady_clock;
  auto start = Clock::now();
  for (Call& call : calls_) {
    frame.ahead = ahead_of(call);
    call.call.run(frame);
    const auto end = Clock::now();
    ++call.count;
    call.seconds += std::chrono::duration<double>(end - start).count();
    start = end;
  }
}

std::map<std::string, std::pair<std::int64_t, double>> CpuProgram::take_profile() {
  std::map<std::string, std::pair<std::int64_t, double>> profile;
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const std::int64_t calls = std::exchange(calls_[i].count, 0);
    if (calls == 0) continue;
    auto& [count, seconds] = profile[graph_->ops[i].name];
    count += calls;
    seconds += std::exchange(calls_[i].seconds, 0.0);
  }
  return profile;
}

}  // namespace octavo::program
