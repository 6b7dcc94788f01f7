// The step program: a model's forward pass recorded once as a list of kernel calls over buffers, replayed for every step.
//
// A buffer is a matrix [rows, cols] of float32 whose row count is a symbol: T (tokens of the step) or L (rows whose logits are
// wanted). Building methods append a call and return the buffer that it writes; `seal` lays all buffers out in one arena, those
// whose lives do not overlap on top of each other; `run` binds the symbols to the step's sizes and makes the calls in order. No
// Python and no allocation happens in `run`.
//
// Ownership: the program borrows the pool, the weights, the arrays and the KV cache; they must outlive it.
#pragma once
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "ops/attention/attention.h"
#include "ops/attention/kv_read_ahead.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/lm_head.h"
#include "ops/moe/moe.h"

namespace octavo::program {

using Buffer = int;  // index of a value of the program

enum class Rows : std::uint8_t { tokens, logits };

// The arrays of one step. T tokens, R sequences, L logits rows, M blocks of the longest sequence.
struct StepArrays {
  Span<const std::int32_t> token_ids;       // [T]
  Span<const std::int32_t> positions;       // [T]
  Span<const std::int32_t> slot_mapping;    // [T]
  Span<const std::int32_t> query_indptr;    // [R + 1]
  Span<const std::int32_t> context_lens;    // [R]
  Matrix<const std::int32_t> block_tables;  // [R, M]
  Span<const std::int32_t> logits_indices;  // [L]
};

class Program {
 public:
  explicit Program(cpu::ThreadPool& pool);
  ~Program();

  Buffer embedding(const EmbeddingWeight& weight, float scale);
  Buffer linear(Buffer x, const LinearWeight& weight, const float* bias);
  Buffer lm_head(Buffer x, const LinearWeight& weight);
  Buffer rms_norm(Buffer x, Span<const float> weight, float eps);
  Buffer add(Buffer x, Buffer y);
  std::pair<Buffer, Buffer> add_rms_norm(Buffer x, Buffer residual, Span<const float> weight, float eps);
  Buffer silu_and_mul(Buffer x);
  Buffer gelu_tanh_and_mul(Buffer x);
  Buffer sigmoid_gate(Buffer x, Buffer gate);
  Buffer moe(Buffer x, Buffer router_logits, MixtureOfExperts layer);
  Buffer columns(Buffer x, std::int64_t start, std::int64_t count);
  Buffer rotary_embedding(Buffer x, Matrix<const float> cos_sin, int head_dim);
  void store_kv(Buffer k, Buffer v, int layer);
  Buffer paged_attention(Buffer q, int layer, int num_heads, float scale, std::optional<int> window, std::optional<float> softcap);
  Buffer select_logits_rows(Buffer x);
  Buffer softcap(Buffer x, float cap);

  void seal(Buffer output, KVCache& cache, std::int64_t max_num_tokens, std::int64_t max_num_logits);
  // Computes a step, from begin() on as soon as a thread of the pool is free. The arrays must stay until finish() returns the output
  // buffer, valid until the next step. Both throw std::invalid_argument when shapes disagree.
  void begin(const StepArrays& step);
  Matrix<const float> finish();
  Matrix<const float> run(const StepArrays& step) {
    begin(step);
    return finish();
  }

  std::int64_t num_cols(Buffer x) const { return value(x).cols; }
  std::int64_t num_bytes() const { return arena_floats_ * static_cast<std::int64_t>(sizeof(float)); }
  std::string describe() const;
  std::map<std::string, std::pair<std::int64_t, double>> take_profile();  // op -> (calls, seconds)

 private:
  // What a buffer is: a range of columns of a storage.
  struct Value {
    int storage;
    std::int64_t start;
    std::int64_t cols;
  };
  // Memory for whole rows; calls are numbered, and it is alive from the one that writes it to the last that reads it.
  struct Storage {
    Rows rows;
    std::int64_t cols;
    int first_call;
    int last_call;
    std::int64_t offset = 0;  // in floats, into the arena
  };
  struct Frame;  // a program bound to one step
  struct KVRead {
    int layer;
    std::optional<int> window;
  };
  // What a call fetches on the side: parts first .. last - 1 of `total` of what an attention reads.
  struct AheadShare {
    std::size_t pages;  // index of kv_read_aheads_
    int layer;
    std::int64_t first, last, total;
  };
  struct Call {
    std::string op;
    std::vector<Buffer> reads;
    std::vector<Buffer> writes;
    std::function<void(const Frame&)> run;
    std::int64_t work = 0;  // of a linear op: multiplications per token
    std::optional<KVRead> kv_read = std::nullopt;
    std::optional<AheadShare> ahead = std::nullopt;
    std::int64_t count = 0;  // since the profile was taken
    double seconds = 0.0;
  };

  const Value& value(Buffer x) const;
  Rows rows_of(Buffer x) const;
  Buffer new_value(Rows rows, std::int64_t cols);
  void append(std::string op, std::vector<Buffer> reads, std::vector<Buffer> writes, std::function<void(const Frame&)> run);
  void lay_out(std::int64_t max_num_tokens, std::int64_t max_num_logits);
  void plan_read_ahead();
  void check(const StepArrays& step) const;
  cpu::ReadAhead ahead_of(const Call& call) const;
  void run_calls();
  void run_profiled(Frame& frame);

  cpu::ThreadPool& pool_;
  KVCache* cache_ = nullptr;
  std::vector<Value> values_;
  std::vector<Storage> storages_;
  std::vector<Call> calls_;
  std::vector<KVReadAhead> kv_read_aheads_;  // one for each window
  Routing routing_;                          // shared by all mixtures of experts: calls are made one after the other
  int max_experts_ = 0;
  int max_top_k_ = 0;
  Buffer output_ = -1;
  std::int64_t max_num_tokens_ = 0;
  std::int64_t max_num_logits_ = 0;
  std::int64_t max_quantized_cols_ = 0;  // the widest input of a linear in int8 arithmetic: scratch for it is reserved by seal
  std::int64_t arena_floats_ = 0;
  std::unique_ptr<float, void (*)(void*)> arena_;
  bool profiling_;
  StepArrays step_;             // that is being computed
  std::exception_ptr failure_;  // of its calls
  struct Leader {
    Program& program;
    void operator()(std::int64_t) const { program.run_calls(); }
  } leader_{*this};
};

}  // namespace octavo::program
