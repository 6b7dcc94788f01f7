// Rotary position embedding of a step's queries or keys.
#include "bench/harness.h"
#include "ops/rotary/rotary.h"

namespace octavo::bench {
namespace {

constexpr std::int64_t kMaxPositions = 4096;

void bench_rotary(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0), num_heads = state.range(1), head_dim = state.range(2), cols = num_heads * head_dim;
  const std::vector<float> x = normal_floats(num_tokens * cols);
  const std::vector<float> table = normal_floats(kMaxPositions * head_dim);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(num_tokens));
  for (std::size_t token = 0; token < positions.size(); ++token) positions[token] = static_cast<std::int32_t>(token * 7 % kMaxPositions);
  std::vector<float> y(x.size());
  const double bytes = sizeof(float) * static_cast<double>(2 * x.size() + static_cast<std::size_t>(num_tokens * head_dim));
  measure(state, {bytes}, [&] {
    rotary_embedding({x.data(), num_tokens, cols}, {positions.data(), num_tokens}, {table.data(), kMaxPositions, head_dim},
                     static_cast<int>(head_dim), {y.data(), num_tokens, cols}, pool());
  });
}

BENCHMARK(bench_rotary)
    ->Name("rotary_embedding")
    ->ArgNames({"T", "H", "D"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->ArgsProduct({{1, 32, 512}, {9}, {64}})
    ->ArgsProduct({{1, 32, 512}, {32}, {64}});

}  // namespace
}  // namespace octavo::bench
