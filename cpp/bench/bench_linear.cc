// Linear layers: GB/s of packed weights for one row (the limit is memory), GFLOP/s for many (the limit is fused multiply-add).
// Weights rotate through copies larger than the last cache, as the layers of a model do.
#include <benchmark/benchmark.h>

#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "ops/linear/half.h"
#include "ops/linear/linear.h"

namespace octavo {
namespace {

constexpr std::int64_t kMinWorkingSet = 96ll << 20;

// Random bytes whose 16-bit words, and so every scale, are small finite numbers in each of the formats.
std::vector<std::uint8_t> random_blocks(Format format, std::int64_t num_elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(format_bytes(format, num_elements)));
  std::mt19937 generator(7);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator() & 0x3b);
  return bytes;
}

void bench_linear(benchmark::State& state, Format format, Arithmetic arithmetic = Arithmetic::exact) {
  const std::int64_t cols = state.range(0), rows = state.range(1), num_tokens = state.range(2);
  cpu::ThreadPool pool(static_cast<int>(std::thread::hardware_concurrency()));
  const std::vector<std::uint8_t> raw = random_blocks(format, rows * cols);
  std::vector<std::unique_ptr<LinearWeight>> weights;
  std::int64_t working_set = 0;
  while (working_set < kMinWorkingSet) {
    weights.push_back(std::make_unique<LinearWeight>(std::vector<LinearWeight::Part>{{raw.data(), format, rows}}, cols, pool, arithmetic));
    working_set += weights.back()->num_bytes();
  }
  std::vector<float> x(static_cast<std::size_t>(num_tokens * cols), 0.5f), y(static_cast<std::size_t>(num_tokens * rows));
  std::size_t next = 0;
  for (auto _ : state) {
    linear({x.data(), num_tokens, cols}, *weights[next], nullptr, {y.data(), num_tokens, rows}, pool);
    benchmark::DoNotOptimize(y.data());
    next = (next + 1) % weights.size();
  }
  const auto runs = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(runs * static_cast<double>(weights.front()->num_bytes()) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GFLOP/s"] = benchmark::Counter(runs * 2e-9 * static_cast<double>(num_tokens * rows * cols), benchmark::Counter::kIsRate);
}

void shapes(benchmark::internal::Benchmark* bench) {  // K, N, T
  bench->ArgNames({"K", "N", "T"})->UseRealTime();
  for (std::int64_t num_tokens : {1, 4, 8, 32, 512}) {
    bench->Args({576, 1536, num_tokens});
    bench->Args({2048, 8192, num_tokens});
  }
}

BENCHMARK_CAPTURE(bench_linear, F32, Format::F32)->Apply(shapes);
BENCHMARK_CAPTURE(bench_linear, BF16, Format::BF16)->Apply(shapes);
BENCHMARK_CAPTURE(bench_linear, Q4_1, Format::Q4_1)->Apply(shapes);
BENCHMARK_CAPTURE(bench_linear, Q8_0, Format::Q8_0)->Apply(shapes);
BENCHMARK_CAPTURE(bench_linear, Q4_1_int8, Format::Q4_1, Arithmetic::int8)->Apply(shapes);
BENCHMARK_CAPTURE(bench_linear, Q8_0_int8, Format::Q8_0, Arithmetic::int8)->Apply(shapes);

// All linear layers of one step of a 135M-parameter Llama (SmolLM2): 30 layers and the head.
void bench_model_step(benchmark::State& state, Format format, Arithmetic arithmetic = Arithmetic::exact) {
  const std::int64_t num_tokens = state.range(0);
  constexpr std::int64_t kShapes[][2] = {{576, 960}, {576, 576}, {576, 3072}, {1536, 576}};  // K, N
  cpu::ThreadPool pool(static_cast<int>(std::thread::hardware_concurrency()));
  const std::vector<std::uint8_t> raw = random_blocks(format, 576 * 49152);
  std::vector<std::unique_ptr<LinearWeight>> weights;
  const auto add = [&](std::int64_t cols, std::int64_t rows) {
    weights.push_back(std::make_unique<LinearWeight>(std::vector<LinearWeight::Part>{{raw.data(), format, rows}}, cols, pool, arithmetic));
  };
  for (int layer = 0; layer < 30; ++layer) {
    for (const auto& shape : kShapes) add(shape[0], shape[1]);
  }
  add(576, 49152);
  std::vector<float> x(static_cast<std::size_t>(num_tokens * 1536), 0.5f), y(static_cast<std::size_t>(num_tokens * 49152));
  for (auto _ : state) {
    for (const auto& weight : weights) {
      const std::int64_t rows_used = weight->rows() == 49152 && num_tokens > 32 ? 1 : num_tokens;  // prefill needs few rows of logits
      linear({x.data(), rows_used, weight->cols()}, *weight, nullptr, {y.data(), rows_used, weight->rows()}, pool);
    }
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(state.iterations() * num_tokens), benchmark::Counter::kIsRate);
}

void steps(benchmark::internal::Benchmark* bench) {
  bench->ArgName("T")->UseRealTime()->Unit(benchmark::kMillisecond);
  for (std::int64_t num_tokens : {1, 2, 4, 8, 32, 512}) bench->Arg(num_tokens);
}

BENCHMARK_CAPTURE(bench_model_step, Q4_1, Format::Q4_1)->Apply(steps);
BENCHMARK_CAPTURE(bench_model_step, Q8_0, Format::Q8_0)->Apply(steps);
BENCHMARK_CAPTURE(bench_model_step, BF16, Format::BF16)->Apply(steps);
BENCHMARK_CAPTURE(bench_model_step, Q4_1_int8, Format::Q4_1, Arithmetic::int8)->Apply(steps);
BENCHMARK_CAPTURE(bench_model_step, Q8_0_int8, Format::Q8_0, Arithmetic::int8)->Apply(steps);

}  // namespace
}  // namespace octavo
