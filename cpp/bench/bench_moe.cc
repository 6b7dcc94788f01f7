// Mixture of experts beside the dense feed-forward block of equal active size, [E, top_k * F]: with many tokens both are limited by
// arithmetic and should take the same time; with few, experts are read once each, whoever wants them. Layers rotate, as in a model.
#include <memory>
#include <set>

#include "bench/harness.h"
#include "cpu/huge_pages.h"
#include "ops/activation/activation.h"
#include "ops/linear/linear.h"
#include "ops/moe/experts.h"
#include "ops/moe/route.h"

namespace octavo::bench {
namespace {

constexpr std::int64_t kHidden = 1024, kSize = 2048;
constexpr int kExperts = 8, kTopK = 2, kLayers = 4;

// Feed-forward blocks of one size: the experts of all layers, or the dense blocks.
class Blocks {
 public:
  Blocks(int count, Format format, Arithmetic arithmetic, std::int64_t size) {
    const std::vector<std::uint8_t> raw = random_blocks(format, 2 * size * kHidden);
    const auto make = [&](std::int64_t rows, std::int64_t cols) {
      return std::make_shared<LinearWeight>(std::vector<LinearWeight::Part>{{raw.data(), format, rows}}, cols, pool(), arithmetic);
    };
    for (int index = 0; index < count; ++index) blocks_.push_back({make(2 * size, kHidden), make(kHidden, size)});
  }
  const std::vector<Expert>& blocks() const { return blocks_; }
  double bytes_of_one() const { return static_cast<double>(blocks_[0].gate_up->num_bytes() + blocks_[0].down->num_bytes()); }
  double num_bytes() const { return bytes_of_one() * static_cast<double>(blocks_.size()); }

 private:
  std::vector<Expert> blocks_;
};

Work work_of(const Blocks& blocks, double num_read, std::int64_t num_tokens, Arithmetic arithmetic) {
  return {num_read * blocks.bytes_of_one(), 2.0 * 3 * kHidden * kSize * kTopK * static_cast<double>(num_tokens), blocks.num_bytes(),
          arithmetic == Arithmetic::int8 ? Peak::int8 : Peak::fp32};
}

void bench_moe(benchmark::State& state, Format format, Arithmetic arithmetic) {
  const std::int64_t num_tokens = state.range(0);
  const Blocks& experts = kept<Blocks>(kLayers * kExperts, format, arithmetic, kSize);
  std::vector<ExpertsWeight> layers;
  for (auto first = experts.blocks().begin(); first != experts.blocks().end(); first += kExperts) {
    layers.emplace_back(std::vector<Expert>(first, first + kExperts));
  }
  const std::vector<float> x = normal_floats(num_tokens * kHidden), logits = normal_floats(num_tokens * kExperts);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(num_tokens * kTopK));
  std::vector<float> shares(ids.size()), y(x.size());
  const Matrix<std::int32_t> chosen{ids.data(), num_tokens, kTopK};
  const Matrix<float> weights{shares.data(), num_tokens, kTopK};
  Routing routing;
  routing.renormalise = true;
  const Matrix<const float> router_logits{logits.data(), num_tokens, kExperts};
  route(router_logits, routing, chosen, weights, pool());
  const auto num_read = static_cast<double>(std::set<std::int32_t>(ids.begin(), ids.end()).size());
  const std::shared_ptr<std::uint8_t> memory = cpu::huge_page_memory(ExpertsScratch::num_bytes(num_tokens, kTopK, layers[0]));
  const ExpertsScratch scratch = ExpertsScratch::in(memory.get(), num_tokens, kTopK, layers[0]);
  std::size_t next = 0;
  measure(state, work_of(experts, num_read, num_tokens, arithmetic), [&] {
    route(router_logits, routing, chosen, weights, pool());
    run_experts({x.data(), num_tokens, kHidden}, {chosen, weights, layers[next++ % kLayers], silu_and_mul}, scratch,
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
