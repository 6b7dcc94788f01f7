// Elementwise ops on rows that the op before has just written.
#include "bench/harness.h"
#include "ops/activation/activation.h"

namespace octavo::bench {
namespace {

using Gated = void (*)(Matrix<const float>, Matrix<float>, cpu::ThreadPool&);

void bench_gated(benchmark::State& state, Gated op) {
  const std::int64_t num_tokens = state.range(0), cols = state.range(1);
  const std::vector<float> x = normal_floats(num_tokens * 2 * cols);
  std::vector<float> y(static_cast<std::size_t>(num_tokens * cols));
  measure(state, {sizeof(float) * static_cast<double>(x.size() + y.size())},
          [&] { op({x.data(), num_tokens, 2 * cols}, {y.data(), num_tokens, cols}, pool()); });
}

void bench_add(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0), cols = state.range(1);
  const std::vector<float> x = normal_floats(num_tokens * cols), y = x;
  std::vector<float> out(x.size());
  measure(state, {3.0 * sizeof(float) * static_cast<double>(x.size())},
          [&] { add({x.data(), num_tokens, cols}, {y.data(), num_tokens, cols}, {out.data(), num_tokens, cols}, pool()); });
}

void bench_softcap(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0), cols = state.range(1);
  const std::vector<float> x = normal_floats(num_tokens * cols);
  std::vector<float> y(x.size());
  measure(state, {2.0 * sizeof(float) * static_cast<double>(x.size())},
          [&] { softcap({x.data(), num_tokens, cols}, 30.0f, {y.data(), num_tokens, cols}, pool()); });
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "F"})->UseRealTime()->Unit(benchmark::kMicrosecond)->ArgsProduct({{1, 32, 512}, {1536, 8192}});
}

BENCHMARK_CAPTURE(bench_gated, silu, silu_and_mul)->Name("silu_and_mul")->Apply(shapes);
BENCHMARK_CAPTURE(bench_gated, gelu, gelu_tanh_and_mul)->Name("gelu_tanh_and_mul")->Apply(shapes);
BENCHMARK(bench_add)->Name("add")->Apply(shapes);
BENCHMARK(bench_softcap)->Name("softcap")->Apply(shapes);

}  // namespace
}  // namespace octavo::bench
