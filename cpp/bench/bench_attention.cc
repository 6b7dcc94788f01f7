// Paged attention: GB/s of keys and values for decoding (the limit is memory), GFLOP/s for prefill (the limit is fused multiply-add).
#include <benchmark/benchmark.h>

#include <numeric>
#include <thread>
#include <vector>

#include "ops/attention/attention.h"

namespace octavo {
namespace {

constexpr int kBlockSize = 16;
constexpr int kNumLayers = 30;  // visited in turn, as a model does: caches hold no layer from step to step

struct Heads {
  int num_heads, num_kv_heads, head_dim;
};
constexpr Heads kSmolLM2{9, 3, 64};
constexpr Heads kLlama1B{32, 8, 64};
constexpr Heads kGemma{4, 1, 256};

// R requests, each with `num_queries` new tokens at the end of a context whose keys and values fill the cache.
class Workload {
 public:
  Workload(Heads heads, int num_requests, int num_queries, int context_len)
      : heads_(heads),
        blocks_each_((context_len + kBlockSize - 1) / kBlockSize),
        cache_(kNumLayers, num_requests * blocks_each_, kBlockSize, heads.num_kv_heads, heads.head_dim),
        context_lens_(num_requests, context_len),
        tables_(num_requests * blocks_each_),
        q_(static_cast<std::size_t>(num_requests) * num_queries * heads.num_heads * heads.head_dim, 0.1f),
        y_(q_.size()) {
    for (int request = 0; request <= num_requests; ++request) indptr_.push_back(request * num_queries);
    std::iota(tables_.begin(), tables_.end(), 0);
    std::vector<float> tokens(static_cast<std::size_t>(num_requests) * context_len * heads.num_kv_heads * heads.head_dim, 0.2f);
    std::vector<std::int32_t> slots(static_cast<std::size_t>(num_requests) * context_len);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slots[i] = static_cast<std::int32_t>(i / context_len * blocks_each_ * kBlockSize + i % context_len);
    }
    const Matrix<const float> rows{tokens.data(), static_cast<std::int64_t>(slots.size()), heads.num_kv_heads * heads.head_dim};
    for (int layer = 0; layer < kNumLayers; ++layer) store_kv(rows, rows, cache_, layer, {slots.data(), rows.rows}, pool_);
  }

  void run(int layer) {
    const std::int64_t num_requests = static_cast<std::int64_t>(context_lens_.size()), num_tokens = indptr_.back();
    const PagedAttention attention{{indptr_.data(), num_requests + 1},
                                   {context_lens_.data(), num_requests},
                                   {tables_.data(), num_requests, blocks_each_},
                                   heads_.num_heads,
                                   0.125f};
    const std::int64_t cols = heads_.num_heads * heads_.head_dim;
    paged_attention({q_.data(), num_tokens, cols}, cache_, layer, attention, {y_.data(), num_tokens, cols}, pool_);
    benchmark::DoNotOptimize(y_.data());
  }

 private:
  Heads heads_;
  int blocks_each_;
  cpu::ThreadPool pool_{static_cast<int>(std::thread::hardware_concurrency())};
  KVCache cache_;
  std::vector<std::int32_t> indptr_, context_lens_, tables_;
  std::vector<float> q_, y_;
};

void run_layers(benchmark::State& state, Workload& workload) {
  int layer = 0;
  for (auto _ : state) {
    workload.run(layer);
    layer = (layer + 1) % kNumLayers;
  }
}

void decode(benchmark::State& state, Heads heads) {
  const auto num_requests = static_cast<int>(state.range(0)), context_len = static_cast<int>(state.range(1));
  Workload workload(heads, num_requests, 1, context_len);
  run_layers(state, workload);
  const double bytes = 2.0 * sizeof(float) * num_requests * context_len * heads.num_kv_heads * heads.head_dim;
  state.counters["GB/s"] = benchmark::Counter(1e-9 * bytes * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void prefill(benchmark::State& state, Heads heads) {
  const auto num_queries = static_cast<int>(state.range(0)), context_len = static_cast<int>(state.range(1));
  Workload workload(heads, 1, num_queries, context_len);
  run_layers(state, workload);
  const double pairs = static_cast<double>(num_queries) * (context_len - (num_queries - 1) / 2.0);
  const double flops = 4.0 * pairs * heads.num_heads * heads.head_dim;
  state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * flops * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
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

BENCHMARK_CAPTURE(decode, SmolLM2, kSmolLM2)->Apply(decode_shapes);
BENCHMARK_CAPTURE(decode, Llama1B, kLlama1B)->Apply(decode_shapes);
BENCHMARK_CAPTURE(decode, Gemma, kGemma)->Apply(decode_shapes);
BENCHMARK_CAPTURE(prefill, SmolLM2, kSmolLM2)->Apply(prefill_shapes);
BENCHMARK_CAPTURE(prefill, Llama1B, kLlama1B)->Apply(prefill_shapes);
BENCHMARK_CAPTURE(prefill, Gemma, kGemma)->Apply(prefill_shapes);

}  // namespace
}  // namespace octavo
