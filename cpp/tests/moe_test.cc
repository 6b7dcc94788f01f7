#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "ops/activation/activation.h"
#include "ops/linear/linear.h"
#include "ops/moe/experts.h"
#include "ops/moe/route.h"
#include "tests/kernel_test.h"

namespace octavo {
namespace {

constexpr std::int64_t kHidden = 40, kSize = 24;

std::shared_ptr<const LinearWeight> random_weight(std::int64_t rows, std::int64_t cols, unsigned seed, cpu::ThreadPool& pool) {
  const std::vector<float> values = random_floats(rows * cols, seed);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(values.data());
  return std::make_shared<LinearWeight>(std::vector<LinearWeight::Part>{{bytes, Format::F32, rows}}, cols, pool);
}

std::vector<Expert> random_experts(int num_experts, cpu::ThreadPool& pool) {
  std::vector<Expert> experts;
  for (unsigned expert = 0; expert < static_cast<unsigned>(num_experts); ++expert) {
    experts.push_back({random_weight(2 * kSize, kHidden, 100u + expert, pool), random_weight(kHidden, kSize, 200u + expert, pool)});
  }
  return experts;
}

// X random experts, of which each token takes top_k.
struct Layer {
  ExpertsWeight blocks;
  int top_k;
  bool renormalise;

  Layer(int num_experts, int top_k_, bool renormalise_, cpu::ThreadPool& pool)
      : blocks(random_experts(num_experts, pool)), top_k(top_k_), renormalise(renormalise_) {}

  std::vector<float> run(const std::vector<float>& x, const std::vector<float>& logits, cpu::ThreadPool& pool) const {
    const auto tokens = static_cast<std::int64_t>(x.size()) / kHidden;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * top_k));
    std::vector<float> weights(ids.size()), y(x.size());
    std::vector<std::uint8_t> memory(static_cast<std::size_t>(ExpertsScratch::num_bytes(tokens, top_k, blocks)) + 64);
    auto* aligned = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
    const Matrix<std::int32_t> chosen{ids.data(), tokens, top_k};
    const Matrix<float> shares{weights.data(), tokens, top_k};
    Routing routing;
    routing.renormalise = renormalise;
    route({logits.data(), tokens, blocks.num_experts()}, routing, chosen, shares, pool);
    run_experts({x.data(), tokens, kHidden}, {chosen, shares, blocks, silu_and_mul}, ExpertsScratch::in(aligned, tokens, top_k, blocks),
                {y.data(), tokens, kHidden}, pool);
    return y;
  }

  // The formulas in route.h and experts.h for one token, one row through each expert: rank by rank, then the sum.
  std::vector<float> literal(const float* x, const float* logits, cpu::ThreadPool& pool) const {
    std::vector<float> y(kHidden);
    std::vector<int> chosen;
    float total = 0, all = 0;
    for (int rank = 0; rank < top_k; ++rank) chosen.push_back(next(logits, chosen));
    for (int expert : chosen) total += std::exp(logits[expert] - logits[chosen[0]]);
    for (std::int64_t expert = 0; expert < blocks.num_experts(); ++expert) all += std::exp(logits[expert] - logits[chosen[0]]);
    for (int expert : chosen) {
      std::vector<float> gate_up(2 * kSize), product(kSize), output(kHidden);
      linear({x, 1, kHidden}, *blocks[expert].gate_up, nullptr, {gate_up.data(), 1, 2 * kSize}, pool);
      silu_and_mul({gate_up.data(), 1, 2 * kSize}, {product.data(), 1, kSize}, pool);
      linear({product.data(), 1, kSize}, *blocks[expert].down, nullptr, {output.data(), 1, kHidden}, pool);
      const float weight = std::exp(logits[expert] - logits[chosen[0]]) / (renormalise ? total : all);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += weight * output[i];
    }
    return y;
  }

  int next(const float* logits, const std::vector<int>& chosen) const {
    int best = -1;
    for (int expert = 0; expert < static_cast<int>(blocks.num_experts()); ++expert) {
      bool taken = false;
      for (int other : chosen) taken |= other == expert;
      if (!taken && (best < 0 || logits[expert] > logits[best])) best = expert;
    }
    return best;
  }
};

class MoeTest : public KernelTest {
 protected:
  cpu::ThreadPool pool_{2};
};

TEST_P(MoeTest, EqualsOneTokenAtATimeBitByBit) {
  for (const bool renormalise : {false, true}) {
    for (const int top_k : {1, 3, 7}) {
      const Layer layer(7, top_k, renormalise, pool_);
      constexpr std::int64_t kTokens = 61;
      const std::vector<float> x = random_floats(kTokens * kHidden, 1);
      std::vector<float> logits = random_floats(kTokens * 7, 2);
      for (std::size_t i = 0; i < logits.size(); i += 2) logits[i] = std::round(logits[i]);  // ties
      const std::vector<float> y = layer.run(x, logits, pool_);
      for (std::int64_t token = 0; token < kTokens; ++token) {
        const std::vector<float> expected = layer.literal(x.data() + token * kHidden, logits.data() + token * 7, pool_);
        const std::vector<float> row(y.begin() + token * kHidden, y.begin() + (token + 1) * kHidden);
        ASSERT_EQ(row, expected) << "token " << token << ", top " << top_k;
      }
    }
  }
}

TEST_P(MoeTest, AllTokensMayWantOneExpert) {
  const Layer layer(4, 2, true, pool_);
  const std::vector<float> x = random_floats(33 * kHidden, 1), logits(33 * 4, 0.5f);  // equal logits: experts 0 and 1
  const std::vector<float> y = layer.run(x, logits, pool_);
  for (std::int64_t token : {0, 32}) {
    const std::vector<float> row(y.begin() + token * kHidden, y.begin() + (token + 1) * kHidden);
    EXPECT_EQ(row, layer.literal(x.data() + token * kHidden, logits.data(), pool_));
  }
}

TEST_P(MoeTest, NaNLogitsSpoilTheirTokenOnly) {
  const Layer layer(4, 2, false, pool_);
  const std::vector<float> x = random_floats(2 * kHidden, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = layer.run(x, {nan, 1.0f, nan, 2.0f, 0.0f, 3.0f, 1.0f, 2.0f}, pool_);
  EXPECT_TRUE(std::isnan(y[0]));
  const std::vector<float> second(y.begin() + kHidden, y.end()), logits = {0.0f, 3.0f, 1.0f, 2.0f};
  EXPECT_EQ(second, layer.literal(x.data() + kHidden, logits.data(), pool_));
}

TEST_P(MoeTest, RefusesWhatDoesNotFit) {
  std::vector<Expert> experts = random_experts(4, pool_);
  std::swap(experts[3].gate_up, experts[3].down);
  EXPECT_THROW(ExpertsWeight{experts}, std::invalid_argument);
  EXPECT_THROW(ExpertsWeight{{}}, std::invalid_argument);
  const std::vector<float> x = random_floats(2 * kHidden, 1), logits(8);
  EXPECT_THROW(Layer(4, 5, false, pool_).run(x, logits, pool_), std::invalid_argument) << "more experts than there are";
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, MoeTest, ::testing::ValuesIn(cpu::available_isas()),
                         [](const auto& info) { return std::string(cpu::name_of(info.param)); });

}  // namespace
}  // namespace octavo
