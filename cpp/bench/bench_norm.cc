// Root mean square norm of rows that the op before has just written.
#include "bench/harness.h"
#include "ops/norm/norm.h"

namespace octavo::bench {
namespace {

void bench_rms_norm(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0), cols = state.range(1);
  const std::vector<float> x = normal_floats(num_tokens * cols), weight = normal_floats(cols);
  std::vector<float> y(x.size());
  measure(state, {2.0 * sizeof(float) * static_cast<double>(x.size())},
          [&] { rms_norm({x.data(), num_tokens, cols}, {weight.data(), cols}, 1e-5f, {y.data(), num_tokens, cols}, pool()); });
}

void bench_add_rms_norm(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0), cols = state.range(1);
  const std::vector<float> x = normal_floats(num_tokens * cols), residual = x, weight = normal_floats(cols);
  std::vector<float> y(x.size()), sum(x.size());
  measure(state, {4.0 * sizeof(float) * static_cast<double>(x.size())}, [&] {
    add_rms_norm({x.data(), num_tokens, cols}, {residual.data(), num_tokens, cols}, {weight.data(), cols}, 1e-5f,
                 {y.data(), num_tokens, cols}, {sum.data(), num_tokens, cols}, pool());
  });
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "E"})->UseRealTime()->Unit(benchmark::kMicrosecond)->ArgsProduct({{1, 32, 512}, {576, 2048}});
}

BENCHMARK(bench_rms_norm)->Name("rms_norm")->Apply(shapes);
BENCHMARK(bench_add_rms_norm)->Name("add_rms_norm")->Apply(shapes);

}  // namespace
}  // namespace octavo::bench
