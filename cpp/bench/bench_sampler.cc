// Sampling a batch: microseconds per step, and how fast the logits are read.
#include <numeric>

#include "bench/harness.h"
#include "sampling/sampler.h"

namespace octavo::bench {
namespace {

RowSampling with_filters(float temperature, int top_k, float top_p, float min_p) {
  RowSampling sampling;
  sampling.temperature = temperature;
  sampling.top_k = top_k;
  sampling.top_p = top_p;
  sampling.min_p = min_p;
  return sampling;
}

RowSampling with_penalties() {
  RowSampling sampling = with_filters(0.8f, 40, 0.95f, 0.0f);
  sampling.repetition_penalty = 1.1f;
  return sampling;
}

RowSampling with_logprobs() {
  RowSampling sampling;
  sampling.num_logprobs = 5;
  return sampling;
}

// Logits of a normal distribution: a language model's are more peaked, so filters keep fewer tokens than here.
void sample_batch(benchmark::State& state, const RowSampling& sampling) {
  const std::int64_t num_rows = state.range(0), vocab_size = state.range(1);
  Sampler sampler(num_rows, vocab_size, pool());
  std::vector<float> logits = normal_floats(num_rows * vocab_size);
  for (float& logit : logits) logit *= 3.0f;
  std::vector<std::int32_t> rows(static_cast<std::size_t>(num_rows)), prompt(200);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(prompt.begin(), prompt.end(), 0);
  for (std::int32_t row : rows) sampler.start_row(row, {prompt.data(), 200}, 200, sampling);
  const Span<const std::int32_t> all{rows.data(), num_rows};
  measure(state, {sizeof(float) * static_cast<double>(logits.size())},
          [&] { benchmark::DoNotOptimize(sampler.sample({logits.data(), num_rows, vocab_size}, all, all)); });
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"R", "V"})->UseRealTime()->Unit(benchmark::kMicrosecond)->Args({1, 49152})->Args({32, 49152})->Args({32, 262144});
}

BENCHMARK_CAPTURE(sample_batch, greedy, RowSampling())->Apply(shapes);
BENCHMARK_CAPTURE(sample_batch, greedy_logprobs, with_logprobs())->Apply(shapes);
BENCHMARK_CAPTURE(sample_batch, temperature, with_filters(0.8f, 0, 1.0f, 0.0f))->Apply(shapes);
BENCHMARK_CAPTURE(sample_batch, top_p, with_filters(0.8f, 0, 0.95f, 0.0f))->Apply(shapes);
BENCHMARK_CAPTURE(sample_batch, top_k, with_filters(0.8f, 40, 1.0f, 0.0f))->Apply(shapes);
BENCHMARK_CAPTURE(sample_batch, min_p, with_filters(0.8f, 0, 1.0f, 0.05f))->Apply(shapes);
BENCHMARK_CAPTURE(sample_batch, penalties, with_penalties())->Apply(shapes);

}  // namespace
}  // namespace octavo::bench
