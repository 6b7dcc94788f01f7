// Mixture of experts beside the dense feed-forward block of equal active size, [E, top_k * F]: with many tokens both are limited by
// arithmetic and should take the same time; with few, experts are read once each, whoever wants them. Layers rotate, as in a model.
#include "bench/harness.h"
#include "ops/activation/activation.h"
#include "ops/linear/linear.h"
#include "ops/moe/moe.h"

namespace octavo::bench {
namespace {

constexpr std::int64_t kHidden = 1024, kSize = 2048;
constexpr int kExperts = 8, kTopK = 2, kLayers = 4;

// Feed-forward blocks of one size: the experts of all layers, or the dense blocks.
class Blocks {
 public:
  Blocks(int count, Format format, Arithmetic arithmetic, std::int64_t size) {
    const std::vector<std::uint8_t> raw = random_blocks(format, 2 * size * kHidden);
    for (int index = 0; index < count; ++index) {
      const LinearWeight* gate_up = add({raw.data(), format, 2 * size}, kHidden, arithmetic);
      blocks_.push_back({gate_up, add({raw.data(), format, kHidden}, size, arithmetic)});
    }
  }
  const std::vector<Expert>& blocks() const { return blocks_; }
  double bytes_of_one() const { return static_cast<double>(weights_[0]->num_bytes() + weights_[1]->num_bytes()); }
  double num_bytes() const { return bytes_of_one() * static_cast<double>(blocks_.size()); }

 private:
  const LinearWeight* add(const LinearWeight::Part& part, std::int64_t cols, Arithmetic arithmetic) {
    weights_.push_back(std::make_unique<LinearWeight>(std::vector<LinearWeight::Part>{part}, cols, pool(), arithmetic));
    return weights_.back().get();
  }

  std::vector<std::unique_ptr<LinearWeight>> weights_;
  std::vector<Expert> blocks_;
};

Work work_of(const Blocks& blocks, double num_read, std::int64_t num_tokens, Arithmetic arithmetic) {
  return {num_read * blocks.bytes_of_one(), 2.0 * 3 * kHidden * kSize * kTopK * static_cast<double>(num_tokens), blocks.num_bytes(),
          arithmetic == Arithmetic::int8 ? Peak::int8 : Peak::fp32};
}

void bench_moe(benchmark::State& state, Format format, Arithmetic arithmetic) {
  const std::int64_t num_tokens = state.range(0);
  const Blocks& experts = kept<Blocks>(kLayers * kExperts, format, arithmetic, kSize);
  std::vector<MixtureOfExperts> layers;
  for (auto first = experts.blocks().begin(); first != experts.blocks().end(); first += kExperts) {
    layers.push_back({{first, first + kExperts}, kTopK, true, silu_and_mul});
  }
  const std::vector<float> x = normal_floats(num_tokens * kHidden), logits = normal_floats(num_tokens * kExperts);
  std::vector<float> rows(x.size() * kTopK), gate_up(static_cast<std::size_t>(num_tokens * 2 * kSize)), y(x.size());
  Routing routing;
  routing.reserve(num_tokens, kExperts, kTopK);
  routing.route({logits.data(), num_tokens, kExperts}, kTopK, true, pool());
  int num_read = 0;
  for (int expert = 0; expert < kExperts; ++expert) num_read += routing.first_row(expert + 1) > routing.first_row(expert);
  const MoeScratch scratch{{rows.data(), num_tokens * kTopK, kHidden}, {gate_up.data(), num_tokens, 2 * kSize}, routing};
  std::size_t next = 0;
  measure(state, work_of(experts, num_read, num_tokens, arithmetic), [&] {
    moe({x.data(), num_tokens, kHidden}, {logits.data(), num_tokens, kExperts}, layers[next++ % kLayers], scratch,
        {y.data(), num_tokens, kHidden}, pool());
  });
}

void bench_dense(benchmark::State& state, Format format, Arithmetic arithmetic) {
  const std::int64_t num_tokens = state.range(0), size = kTopK * kSize;
  const Blocks& dense = kept<Blocks>(2 * kLayers, format, arithmetic, size);
  const std::vector<float> x = normal_floats(num_tokens * kHidden);
  std::vector<float> gate_up(static_cast<std::size_t>(num_tokens * 2 * size)), y(x.size());
  const Matrix<float> both(gate_up.data(), num_tokens, 2 * size);
  std::size_t next = 0;
  measure(state, work_of(dense, 1.0, num_tokens, arithmetic), [&] {
    const Expert& block = dense.blocks()[next++ % dense.blocks().size()];
    linear({x.data(), num_tokens, kHidden}, *block.gate_up, nullptr, both, pool());
    silu_and_mul(both, both.columns(0, size), pool());
    linear(both.columns(0, size), *block.down, nullptr, {y.data(), num_tokens, kHidden}, pool());
  });
}

void steps(benchmark::internal::Benchmark* bench) {
  bench->ArgName("T")->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (std::int64_t num_tokens : {1, 32, 512}) bench->Arg(num_tokens);
}

BENCHMARK_CAPTURE(bench_moe, BF16, Format::BF16, Arithmetic::exact)->Name("moe/BF16")->Apply(steps);
BENCHMARK_CAPTURE(bench_dense, BF16, Format::BF16, Arithmetic::exact)->Name("dense/BF16")->Apply(steps);
BENCHMARK_CAPTURE(bench_moe, Q4_1, Format::Q4_1, Arithmetic::int8)->Name("moe/Q4_1/int8")->Apply(steps);
BENCHMARK_CAPTURE(bench_dense, Q4_1, Format::Q4_1, Arithmetic::int8)->Name("dense/Q4_1/int8")->Apply(steps);

}  // namespace
}  // namespace octavo::bench
