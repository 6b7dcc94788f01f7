// Paged attention: reading keys and values bounds decoding, fused multiply-add bounds prefill.
#include <numeric>

#include "bench/harness.h"
#include "ops/attention/attention_plan.h"

namespace octavo::bench {
namespace {

constexpr int kBlockSize = 16;

struct Heads {
  int num_heads, num_kv_heads, head_dim;

  bool operator==(const Heads& other) const {
    return num_heads == other.num_heads && num_kv_heads == other.num_kv_heads && head_dim == other.head_dim;
  }
};
constexpr Heads kSmolLM2{9, 3, 64};
constexpr Heads kLlama1B{32, 8, 64};
constexpr Heads kGemma{4, 1, 256};

// R requests, each with `num_queries` new tokens at the end of a context whose keys and values fill the cache. There are enough
// layers, visited in turn, that no cache of the processor holds one from visit to visit.
class Workload {
 public:
  Workload(Heads heads, KVDtype dtype, int num_requests, int num_queries, int context_len)
      : heads_(heads),
        blocks_each_((context_len + kBlockSize - 1) / kBlockSize),
        num_layers_(static_cast<int>(1 + uncached_bytes() / KVCache::bytes_per_block(num_requests * blocks_each_, kBlockSize,
                                                                                     heads.num_kv_heads, heads.head_dim, dtype))),
        cache_(num_layers_, num_requests * blocks_each_, kBlockSize, heads.num_kv_heads, heads.head_dim, dtype),
        context_lens_(num_requests, context_len),
        tables_(num_requests * blocks_each_),
        q_(normal_floats(std::int64_t{num_requests} * num_queries * heads.num_heads * heads.head_dim)),
        y_(q_.size()) {
    for (int request = 0; request <= num_requests; ++request) indptr_.push_back(request * num_queries);
    std::iota(tables_.begin(), tables_.end(), 0);
    std::vector<std::int32_t> slots(static_cast<std::size_t>(num_requests) * context_len);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slots[i] = static_cast<std::int32_t>(i / context_len * blocks_each_ * kBlockSize + i % context_len);
    }
    const std::int64_t num_tokens = static_cast<std::int64_t>(slots.size()), cols = heads.num_kv_heads * heads.head_dim;
    const std::vector<float> tokens = normal_floats(num_tokens * cols);
    const Matrix<const float> rows{tokens.data(), num_tokens, cols};
    for (int layer = 0; layer < num_layers_; ++layer) store_kv(rows, rows, cache_, layer, {slots.data(), rows.rows}, pool());
  }

  double layer_bytes() const { return static_cast<double>(cache_.num_bytes()) / num_layers_; }
  double num_bytes() const { return static_cast<double>(cache_.num_bytes()); }

  void run_next_layer() {
    const std::int64_t num_requests = static_cast<std::int64_t>(context_lens_.size()), num_tokens = indptr_.back();
    const PagedAttention attention{{indptr_.data(), num_requests + 1},
                                   {context_lens_.data(), num_requests},
                                   {tables_.data(), num_requests, blocks_each_},
                                   heads_.num_heads,
                                   0.125f};
    const std::int64_t cols = heads_.num_heads * heads_.head_dim;
    plan_.prepare(attention, cache_, pool().num_threads());
    paged_attention({q_.data(), num_tokens, cols}, cache_, layer_, attention, plan_, {y_.data(), num_tokens, cols}, pool());
    layer_ = (layer_ + 1) % num_layers_;
  }

 private:
  Heads heads_;
  int blocks_each_, num_layers_, layer_ = 0;
  KVCache cache_;
  AttentionPlan plan_;
  std::vector<std::int32_t> indptr_, context_lens_, tables_;
  std::vector<float> q_, y_;
};

void decode(benchmark::State& state, Heads heads, KVDtype dtype) {
  const auto num_requests = static_cast<int>(state.range(0)), context_len = static_cast<int>(state.range(1));
  Workload& workload = kept<Workload>(heads, dtype, num_requests, 1, context_len);
  const double flops = 4.0 * num_requests * context_len * heads.num_heads * heads.head_dim;
  measure(state, {workload.layer_bytes(), flops, workload.num_bytes()}, [&] { workload.run_next_layer(); });
}

void prefill(benchmark::State& state, Heads heads, KVDtype dtype) {
  const auto num_queries = static_cast<int>(state.range(0)), context_len = static_cast<int>(state.range(1));
  Workload& workload = kept<Workload>(heads, dtype, 1, num_queries, context_len);
  const double pairs = static_cast<double>(num_queries) * (context_len - (num_queries - 1) / 2.0);
  measure(state, {0.0, 4.0 * pairs * heads.num_heads * heads.head_dim}, [&] { workload.run_next_layer(); });
}

void decode_shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"R", "context"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (std::int64_t num_requests : {1, 8, 32}) {
    bench->Args({num_requests, 192});
    bench->Args({num_requests, 1024});
  }
  bench->Args({1, 8192});
}

void prefill_shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "context"})->UseRealTime()->Unit(benchmark::kMicrosecond)->Args({128, 128})->Args({512, 512})->Args({512, 4096});
}

#define OCTAVO_BENCH_ATTENTION(name, heads)                                             \
  BENCHMARK_CAPTURE(decode, name##_fp32, heads, KVDtype::fp32)->Apply(decode_shapes);   \
  BENCHMARK_CAPTURE(decode, name##_bf16, heads, KVDtype::bf16)->Apply(decode_shapes);   \
  BENCHMARK_CAPTURE(decode, name##_fp16, heads, KVDtype::fp16)->Apply(decode_shapes);   \
  BENCHMARK_CAPTURE(decode, name##_int8, heads, KVDtype::int8)->Apply(decode_shapes);   \
  BENCHMARK_CAPTURE(prefill, name##_fp32, heads, KVDtype::fp32)->Apply(prefill_shapes); \
  BENCHMARK_CAPTURE(prefill, name##_bf16, heads, KVDtype::bf16)->Apply(prefill_shapes); \
  BENCHMARK_CAPTURE(prefill, name##_fp16, heads, KVDtype::fp16)->Apply(prefill_shapes); \
  BENCHMARK_CAPTURE(prefill, name##_int8, heads, KVDtype::int8)->Apply(prefill_shapes)

OCTAVO_BENCH_ATTENTION(SmolLM2, kSmolLM2);
OCTAVO_BENCH_ATTENTION(Llama1B, kLlama1B);
OCTAVO_BENCH_ATTENTION(Gemma, kGemma);

}  // namespace
}  // namespace octavo::bench
