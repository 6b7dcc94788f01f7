// Mixture of experts beside the dense feed-forward block of equal active size, [E, top_k * F]: with many tokens both are limited by
// arithmetic and should take the same time; with few, experts are read once each, whoever wants them. Layers rotate, as in a model.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "ops/activation/activation.h"
#include "ops/linear/linear.h"
#include "ops/moe/moe.h"

namespace octavo {
namespace {

constexpr std::int64_t kHidden = 1024, kSize = 2048;
constexpr int kExperts = 8, kTopK = 2, kLayers = 4;

// Random bytes whose 16-bit words, and so every scale, are small finite numbers in each of the formats.
std::vector<std::uint8_t> random_blocks(Format format, std::int64_t num_elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(format_bytes(format, num_elements)));
  std::mt19937 generator(7);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator() & 0x3b);
  return bytes;
}

std::vector<float> random_floats(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(generator);
  return values;
}

// Feed-forward blocks of one size: the experts of all layers, or the dense blocks.
struct Blocks {
  std::vector<std::unique_ptr<LinearWeight>> weights;
  std::vector<Expert> blocks;

  Blocks(int count, Format format, std::int64_t size, cpu::ThreadPool& pool) {
    const std::vector<std::uint8_t> raw = random_blocks(format, 2 * size * kHidden);
    for (int index = 0; index < count; ++index) {
      const LinearWeight* gate_up = add(raw, format, 2 * size, kHidden, pool);
      blocks.push_back({gate_up, add(raw, format, kHidden, size, pool)});
    }
  }

  const LinearWeight* add(const std::vector<std::uint8_t>& raw, Format format, std::int64_t rows, std::int64_t cols,
                          cpu::ThreadPool& pool) {
    weights.push_back(std::make_unique<LinearWeight>(std::vector<LinearWeight::Part>{{raw.data(), format, rows}}, cols, pool));
    return weights.back().get();
  }
};

void report(benchmark::State& state, std::int64_t num_tokens) {
  const double flop = 2.0 * 3 * kHidden * kSize * kTopK * static_cast<double>(num_tokens);
  state.counters["GFLOP/s"] = benchmark::Counter(static_cast<double>(state.iterations()) * flop * 1e-9, benchmark::Counter::kIsRate);
}

void bench_moe(benchmark::State& state, Format format) {
  const std::int64_t num_tokens = state.range(0);
  cpu::ThreadPool pool(static_cast<int>(std::thread::hardware_concurrency()));
  const Blocks experts(kLayers * kExperts, format, kSize, pool);
  std::vector<MixtureOfExperts> layers;
  for (auto first = experts.blocks.begin(); first != experts.blocks.end(); first += kExperts) {
    layers.push_back({{first, first + kExperts}, kTopK, true, silu_and_mul});
  }
  const std::vector<float> x = random_floats(num_tokens * kHidden), logits = random_floats(num_tokens * kExperts);
  std::vector<float> rows(x.size() * kTopK), gate_up(static_cast<std::size_t>(num_tokens * 2 * kSize)), y(x.size());
  Routing routing;
  routing.reserve(num_tokens, kExperts, kTopK);
  const MoeScratch scratch{{rows.data(), num_tokens * kTopK, kHidden}, {gate_up.data(), num_tokens, 2 * kSize}, routing};
  std::size_t next = 0;
  for (auto _ : state) {
    moe({x.data(), num_tokens, kHidden}, {logits.data(), num_tokens, kExperts}, layers[next++ % kLayers], scratch,
        {y.data(), num_tokens, kHidden}, pool);
    benchmark::DoNotOptimize(y.data());
  }
  report(state, num_tokens);
}

void bench_dense(benchmark::State& state, Format format) {
  const std::int64_t num_tokens = state.range(0), size = kTopK * kSize;
  cpu::ThreadPool pool(static_cast<int>(std::thread::hardware_concurrency()));
  const Blocks dense(kLayers, format, size, pool);
  const std::vector<float> x = random_floats(num_tokens * kHidden);
  std::vector<float> gate_up(static_cast<std::size_t>(num_tokens * 2 * size)), y(x.size());
  const Matrix<float> both(gate_up.data(), num_tokens, 2 * size);
  std::size_t next = 0;
  for (auto _ : state) {
    const Expert& block = dense.blocks[next++ % kLayers];
    linear({x.data(), num_tokens, kHidden}, *block.gate_up, nullptr, both, pool);
    silu_and_mul(both, both.columns(0, size), pool);
    linear(both.columns(0, size), *block.down, nullptr, {y.data(), num_tokens, kHidden}, pool);
    benchmark::DoNotOptimize(y.data());
  }
  report(state, num_tokens);
}

void steps(benchmark::internal::Benchmark* bench) {
  bench->ArgName("T")->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (std::int64_t num_tokens : {1, 32, 512}) bench->Arg(num_tokens);
}

BENCHMARK_CAPTURE(bench_moe, BF16, Format::BF16)->Apply(steps);
BENCHMARK_CAPTURE(bench_dense, BF16, Format::BF16)->Apply(steps);
BENCHMARK_CAPTURE(bench_moe, Q4_1, Format::Q4_1)->Apply(steps);
BENCHMARK_CAPTURE(bench_dense, Q4_1, Format::Q4_1)->Apply(steps);

}  // namespace
}  // namespace octavo
