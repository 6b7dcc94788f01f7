// Writing the keys and values of a step's tokens into the cache, layer after layer.
#include <numeric>

#include "bench/harness.h"
#include "ops/attention/kv_cache.h"

namespace octavo::bench {
namespace {

constexpr int kNumLayers = 30, kNumBlocks = 256, kBlockSize = 16;

void bench_store_kv(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0);
  const auto num_kv_heads = static_cast<int>(state.range(1)), head_dim = static_cast<int>(state.range(2));
  KVCache cache(kNumLayers, kNumBlocks, kBlockSize, num_kv_heads, head_dim);
  const std::int64_t cols = num_kv_heads * head_dim;
  const std::vector<float> rows = normal_floats(num_tokens * cols);
  std::vector<std::int32_t> slots(static_cast<std::size_t>(num_tokens));
  std::iota(slots.begin(), slots.end(), 0);
  const Matrix<const float> kv{rows.data(), num_tokens, cols};
  const double bytes = 4.0 * sizeof(float) * static_cast<double>(num_tokens * cols);  // two read, two written
  int layer = 0;
  measure(state, {bytes, 0.0, bytes * kNumLayers}, [&] {
    store_kv(kv, kv, cache, layer, {slots.data(), num_tokens}, pool());
    layer = (layer + 1) % kNumLayers;
  });
}

BENCHMARK(bench_store_kv)
    ->Name("store_kv")
    ->ArgNames({"T", "K", "D"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgsProduct({{1, 32, 512}, {3}, {64}})
    ->ArgsProduct({{1, 32, 512}, {8}, {64}});

}  // namespace
}  // namespace octavo::bench
