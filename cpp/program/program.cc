#include "program/program.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "ops/activation/activation.h"
#include "ops/gather/gather.h"
#include "ops/linear/quantized_rows.h"
#include "ops/norm/norm.h"
#include "ops/rotary/rotary.h"
#include "program/arena.h"

namespace octavo::program {

constexpr std::int64_t kArenaFloats = 16;  // alignment: a cache line, and the widest vector

struct Program::Frame {
  const Program& program;
  const StepArrays& step;
  cpu::ThreadPool& pool;
  Routing& routing;
  cpu::ReadAhead ahead = {};  // of the call that runs

  Matrix<float> operator[](Buffer x) const {
    const Value& value = program.values_[x];
    const Storage& storage = program.storages_[value.storage];
    const std::int64_t rows = storage.rows == Rows::tokens ? step.token_ids.size : step.logits_indices.size;
    return {program.arena_.get() + storage.offset + value.start, rows, value.cols, storage.cols};
  }
};

Program::Program(cpu::ThreadPool& pool) : pool_(pool), arena_(nullptr, std::free) {
  const char* flag = std::getenv("OCTAVO_PROFILE");
  profiling_ = flag && std::string(flag) == "1";
}

Program::~Program() = default;

// ---- building -----------------------------------------------------------------------------------------------------------------

const Program::Value& Program::value(Buffer x) const {
  require(x >= 0 && x < static_cast<int>(values_.size()), "program: there is no buffer ", x);
  return values_[x];
}

Rows Program::rows_of(Buffer x) const { return storages_[value(x).storage].rows; }

Buffer Program::new_value(Rows rows, std::int64_t cols) {
  const int call = static_cast<int>(calls_.size());
  storages_.push_back({rows, cols, call, call});
  values_.push_back({static_cast<int>(storages_.size()) - 1, 0, cols});
  return static_cast<Buffer>(values_.size()) - 1;
}

void Program::append(std::string op, std::vector<Buffer> reads, std::vector<Buffer> writes, std::function<void(const Frame&)> run) {
  require(cache_ == nullptr, "program: ", op, " after seal");
  for (Buffer x : reads) storages_[value(x).storage].last_call = static_cast<int>(calls_.size());
  calls_.push_back({std::move(op), std::move(reads), std::move(writes), std::move(run)});
}

Buffer Program::embedding(const EmbeddingWeight& weight, float scale) {
  const Buffer y = new_value(Rows::tokens, weight.cols);
  append("embedding", {}, {y}, [=, &weight](const Frame& f) { octavo::embedding(f.step.token_ids, weight, scale, f[y], f.pool); });
  return y;
}

Buffer Program::linear(Buffer x, const LinearWeight& weight, const float* bias) {
  require(num_cols(x) == weight.cols(), "linear: x has ", num_cols(x), " columns and the weight ", weight.cols());
  if (weight.quantizes_activations()) max_quantized_cols_ = std::max(max_quantized_cols_, weight.cols());
  const Buffer y = new_value(rows_of(x), weight.rows());
  append("linear", {x}, {y}, [=, &weight](const Frame& f) { octavo::linear(f[x], weight, bias, f[y], f.pool, f.ahead); });
  if (rows_of(x) == Rows::tokens) calls_.back().work = weight.rows() * weight.cols();
  return y;
}

Buffer Program::lm_head(Buffer x, const LinearWeight& weight) {
  require(num_cols(x) == weight.cols(), "lm_head: x has ", num_cols(x), " columns and the weight ", weight.cols());
  if (weight.quantizes_activations()) max_quantized_cols_ = std::max(max_quantized_cols_, weight.cols());
  const Buffer y = new_value(rows_of(x), weight.rows());
  append("lm_head", {x}, {y}, [=, &weight](const Frame& f) { octavo::lm_head(f[x], weight, f[y], f.pool); });
  return y;
}

Buffer Program::rms_norm(Buffer x, Span<const float> weight, float eps) {
  require(weight.size > 0 && num_cols(x) % weight.size == 0, "rms_norm: ", num_cols(x), " columns are no multiple of ", weight.size);
  const Buffer y = new_value(rows_of(x), num_cols(x));
  append("rms_norm", {x}, {y}, [=](const Frame& f) { octavo::rms_norm(f[x], weight, eps, f[y], f.pool); });
  return y;
}

Buffer Program::add(Buffer x, Buffer y) {
  require(num_cols(x) == num_cols(y) && rows_of(x) == rows_of(y), "add: shapes differ");
  const Buffer out = new_value(rows_of(x), num_cols(x));
  append("add", {x, y}, {out}, [=](const Frame& f) { octavo::add(f[x], f[y], f[out], f.pool); });
  return out;
}

std::pair<Buffer, Buffer> Program::add_rms_norm(Buffer x, Buffer residual, Span<const float> weight, float eps) {
  require(num_cols(x) == num_cols(residual) && num_cols(x) == weight.size, "add_rms_norm: shapes differ");
  const Buffer y = new_value(rows_of(x), num_cols(x));
  const Buffer sum = new_value(rows_of(x), num_cols(x));
  append("add_rms_norm", {x, residual}, {y, sum},
         [=](const Frame& f) { octavo::add_rms_norm(f[x], f[residual], weight, eps, f[y], f[sum], f.pool); });
  return {y, sum};
}

Buffer Program::silu_and_mul(Buffer x) {
  const Buffer y = new_value(rows_of(x), num_cols(x) / 2);
  append("silu_and_mul", {x}, {y}, [=](const Frame& f) { octavo::silu_and_mul(f[x], f[y], f.pool); });
  return y;
}

Buffer Program::gelu_tanh_and_mul(Buffer x) {
  const Buffer y = new_value(rows_of(x), num_cols(x) / 2);
  append("gelu_tanh_and_mul", {x}, {y}, [=](const Frame& f) { octavo::gelu_tanh_and_mul(f[x], f[y], f.pool); });
  return y;
}

Buffer Program::sigmoid_gate(Buffer x, Buffer gate) {
  require(num_cols(gate) == 1 && rows_of(gate) == rows_of(x), "sigmoid_gate: the gate has ", num_cols(gate), " columns, expected 1");
  const Buffer y = new_value(rows_of(x), num_cols(x));
  append("sigmoid_gate", {x, gate}, {y}, [=](const Frame& f) { octavo::sigmoid_gate(f[x], f[gate], f[y], f.pool); });
  return y;
}

Buffer Program::moe(Buffer x, Buffer router_logits, MixtureOfExperts layer) {
  check_experts(layer);
  require(num_cols(x) == layer.hidden_size() && num_cols(router_logits) == static_cast<std::int64_t>(layer.experts.size()), "moe: x has ",
          num_cols(x), " columns and router_logits ", num_cols(router_logits), ", expected ", layer.hidden_size(), " and ",
          layer.experts.size());
  require(rows_of(x) == rows_of(router_logits), "moe: x and router_logits have different rows");
  max_experts_ = std::max(max_experts_, static_cast<int>(layer.experts.size()));
  max_top_k_ = std::max(max_top_k_, layer.top_k);
  max_quantized_cols_ = std::max({max_quantized_cols_, layer.hidden_size(), layer.gate_up_size() / 2});
  const Buffer y = new_value(rows_of(x), num_cols(x));
  const Buffer expert_rows = new_value(rows_of(x), num_cols(x) * layer.top_k);
  const Buffer gate_up = new_value(rows_of(x), layer.gate_up_size());
  append("moe", {x, router_logits}, {y}, [=, layer = std::move(layer)](const Frame& f) {
    const Matrix<float> per_token = f[expert_rows];  // top_k rows of E, one after the other
    const Matrix<float> rows(per_token.data, per_token.rows * layer.top_k, layer.hidden_size());
    octavo::moe(f[x], f[router_logits], layer, {rows, f[gate_up], f.routing}, f[y], f.pool);
  });
  return y;
}

Buffer Program::columns(Buffer x, std::int64_t start, std::int64_t count) {
  const Value whole = value(x);
  require(start >= 0 && count > 0 && start + count <= whole.cols, "columns: ", start, " + ", count, " is beyond ", whole.cols);
  values_.push_back({whole.storage, whole.start + start, count});
  return static_cast<Buffer>(values_.size()) - 1;
}

Buffer Program::rotary_embedding(Buffer x, Matrix<const float> cos_sin, int head_dim) {
  require(head_dim > 0 && num_cols(x) % head_dim == 0, "rotary_embedding: ", num_cols(x), " columns are no multiple of head_dim ",
          head_dim);
  const Buffer y = new_value(rows_of(x), num_cols(x));
  append("rotary_embedding", {x}, {y},
         [=](const Frame& f) { octavo::rotary_embedding(f[x], f.step.positions, cos_sin, head_dim, f[y], f.pool); });
  return y;
}

void Program::store_kv(Buffer k, Buffer v, int layer) {
  append("store_kv", {k, v}, {}, [=](const Frame& f) { octavo::store_kv(f[k], f[v], *cache_, layer, f.step.slot_mapping, f.pool); });
}

Buffer Program::paged_attention(Buffer q, int layer, int num_heads, float scale, std::optional<int> window, std::optional<float> softcap) {
  const Buffer y = new_value(Rows::tokens, num_cols(q));
  append("paged_attention", {q}, {y}, [=](const Frame& f) {
    const PagedAttention plan{f.step.query_indptr, f.step.context_lens, f.step.block_tables, num_heads, scale, window, softcap};
    octavo::paged_attention(f[q], *cache_, layer, plan, f[y], f.pool);
  });
  calls_.back().kv_read = KVRead{layer, window};
  return y;
}

Buffer Program::select_logits_rows(Buffer x) {
  require(rows_of(x) == Rows::tokens, "select_logits_rows: the rows are selected already");
  const Buffer y = new_value(Rows::logits, num_cols(x));
  append("select_rows", {x}, {y}, [=](const Frame& f) { octavo::select_rows(f[x], f.step.logits_indices, f[y], f.pool); });
  return y;
}

Buffer Program::softcap(Buffer x, float cap) {
  const Buffer y = new_value(rows_of(x), num_cols(x));
  append("softcap", {x}, {y}, [=](const Frame& f) { octavo::softcap(f[x], cap, f[y], f.pool); });
  return y;
}

// ---- sealing ------------------------------------------------------------------------------------------------------------------

void Program::seal(Buffer output, KVCache& cache, std::int64_t max_num_tokens, std::int64_t max_num_logits) {
  require(cache_ == nullptr, "program: sealed twice");
  require(rows_of(output) == Rows::logits && value(output).start == 0, "program: the output must be whole rows of logits");
  require(max_num_tokens > 0 && max_num_logits > 0, "program: the largest step has no rows");
  storages_[value(output).storage].last_call = static_cast<int>(calls_.size());
  output_ = output;
  cache_ = &cache;
  max_num_tokens_ = max_num_tokens;
  max_num_logits_ = max_num_logits;
  lay_out(max_num_tokens, max_num_logits);
  plan_read_ahead();
  pool_.scratch(QuantizedRows::num_bytes(std::max(max_num_tokens, max_num_logits), max_quantized_cols_));
  routing_.reserve(std::max(max_num_tokens, max_num_logits), max_experts_, max_top_k_);
}

void Program::lay_out(std::int64_t max_num_tokens, std::int64_t max_num_logits) {
  std::vector<ArenaItem> items;
  for (const Storage& storage : storages_) {
    const std::int64_t rows = storage.rows == Rows::tokens ? max_num_tokens : max_num_logits;
    items.push_back({rows * storage.cols, storage.first_call, storage.last_call, 0});
  }
  arena_floats_ = assign_offsets(items, kArenaFloats);
  for (std::size_t index = 0; index < items.size(); ++index) storages_[index].offset = items[index].offset;
  arena_.reset(static_cast<float*>(std::aligned_alloc(kArenaFloats * sizeof(float), arena_floats_ * sizeof(float))));
  if (!arena_) throw std::runtime_error(concat("program: no memory for ", num_bytes(), " bytes of activations"));
}

// The linear ops between one attention and the next fetch what the latter reads, each as much as its share of their work.
void Program::plan_read_ahead() {
  std::size_t begin = 0;
  for (std::size_t reader = 0; reader < calls_.size(); ++reader) {
    if (!calls_[reader].kv_read) continue;
    const auto [layer, window] = *calls_[reader].kv_read;
    std::size_t pages = 0;
    while (pages < kv_read_aheads_.size() && kv_read_aheads_[pages].window() != window) ++pages;
    if (pages == kv_read_aheads_.size()) kv_read_aheads_.emplace_back(*cache_, window);
    std::int64_t total = 0, done = 0;
    for (std::size_t index = begin; index < reader; ++index) total += calls_[index].work;
    for (std::size_t index = begin; index < reader; ++index) {
      const std::int64_t work = calls_[index].work;
      if (work > 0) calls_[index].ahead = AheadShare{pages, layer, done, done + work, total};
      done += work;
    }
    begin = reader + 1;
  }
}

std::string Program::describe() const {
  std::string text;
  for (const Call& call : calls_) {
    text += call.op + "(";
    for (std::size_t i = 0; i < call.reads.size(); ++i) text += concat(i ? ", %" : "%", call.reads[i]);
    text += ")";
    for (std::size_t i = 0; i < call.writes.size(); ++i) {
      const Value& written = values_[call.writes[i]];
      const Storage& storage = storages_[written.storage];
      text += concat(i ? ", %" : " -> %", call.writes[i], " [", storage.rows == Rows::tokens ? "T" : "L", ", ", written.cols, "]");
    }
    text += "\n";
  }
  return text;
}

// ---- running ------------------------------------------------------------------------------------------------------------------

void Program::check(const StepArrays& step) const {
  require(cache_ != nullptr, "program: run before seal");
  const std::int64_t tokens = step.token_ids.size;
  require(tokens <= max_num_tokens_, "program: ", tokens, " tokens, at most ", max_num_tokens_);
  require(step.logits_indices.size <= max_num_logits_, "program: ", step.logits_indices.size, " logits rows, at most ", max_num_logits_);
  require(step.positions.size == tokens && step.slot_mapping.size == tokens, "program: positions and slot_mapping need ", tokens,
          " entries");
  require(step.query_indptr.size == step.context_lens.size + 1 && step.block_tables.rows == step.context_lens.size,
          "program: query_indptr, context_lens and block_tables disagree on the number of sequences");
}

void Program::begin(const StepArrays& step) {
  check(step);
  step_ = step;
  pool_.begin(leader_);
}

Matrix<const float> Program::finish() {
  pool_.finish();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return Frame{*this, step_, pool_, routing_}[output_];
}

void Program::run_calls() try {
  for (KVReadAhead& pages : kv_read_aheads_) pages.list(step_.query_indptr, step_.context_lens, step_.block_tables);
  Frame frame{*this, step_, pool_, routing_};
  if (profiling_) return run_profiled(frame);
  for (const Call& call : calls_) {
    frame.ahead = ahead_of(call);
    call.run(frame);
  }
} catch (...) {
  failure_ = std::current_exception();
}

cpu::ReadAhead Program::ahead_of(const Call& call) const {
  if (!call.ahead) return {};
  const AheadShare& share = *call.ahead;
  return kv_read_aheads_[share.pages].of_layer(share.layer).share(share.first, share.last, share.total);
}

void Program::run_profiled(Frame& frame) {
  using Clock = std::chrono::steady_clock;
  auto start = Clock::now();
  for (Call& call : calls_) {
    frame.ahead = ahead_of(call);
    call.run(frame);
    const auto end = Clock::now();
    ++call.count;
    call.seconds += std::chrono::duration<double>(end - start).count();
    start = end;
  }
}

std::map<std::string, std::pair<std::int64_t, double>> Program::take_profile() {
  std::map<std::string, std::pair<std::int64_t, double>> profile;
  for (Call& call : calls_) {
    const std::int64_t calls = std::exchange(call.count, 0);
    if (calls == 0) continue;
    auto& [count, seconds] = profile[call.op];
    count += calls;
    seconds += std::exchange(call.seconds, 0.0);
  }
  return profile;
}

}  // namespace octavo::program
