#include "ops/moe/moe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "ops/activation/activation.h"
#include "ops/linear/linear.h"
#include "tests/kernel_test.h"

namespace octavo {
namespace {

constexpr std::int64_t kHidden = 40, kSize = 24;

// X random experts and the room to run them.
struct Layer {
  MixtureOfExperts moe;
  std::vector<std::unique_ptr<LinearWeight>> weights;

  Layer(int num_experts, int top_k, bool renormalise, cpu::ThreadPool& pool) : moe{{}, top_k, renormalise, silu_and_mul} {
    for (int expert = 0; expert < num_experts; ++expert) {
      add(2 * kSize, kHidden, 100u + static_cast<unsigned>(expert), pool);
      add(kHidden, kSize, 200u + static_cast<unsigned>(expert), pool);
      moe.experts.push_back({weights[weights.size() - 2].get(), weights.back().get()});
    }
  }

  void add(std::int64_t rows, std::int64_t cols, unsigned seed, cpu::ThreadPool& pool) {
    const std::vector<float> values = random_floats(rows * cols, seed);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(values.data());
    weights.push_back(std::make_unique<LinearWeight>(std::vector<LinearWeight::Part>{{bytes, Format::F32, rows}}, cols, pool));
  }

  std::vector<float> run(const std::vector<float>& x, const std::vector<float>& logits, cpu::ThreadPool& pool) const {
    const auto tokens = static_cast<std::int64_t>(x.size()) / kHidden, num_experts = static_cast<std::int64_t>(moe.experts.size());
    std::vector<float> rows(x.size() * static_cast<std::size_t>(moe.top_k)), gate_up(static_cast<std::size_t>(tokens * 2 * kSize)),
        y(x.size());
    Routing routing;
    routing.reserve(tokens, static_cast<int>(num_experts), moe.top_k);
    octavo::moe({x.data(), tokens, kHidden}, {logits.data(), tokens, num_experts}, moe,
                {{rows.data(), tokens * moe.top_k, kHidden}, {gate_up.data(), tokens, 2 * kSize}, routing}, {y.data(), tokens, kHidden},
                pool);
    return y;
  }

  // The formula in moe.h for one token, one row through each expert: rank by rank, then the sum.
  std::vector<float> literal(const float* x, const float* logits, cpu::ThreadPool& pool) const {
    std::vector<float> y(kHidden);
    std::vector<int> chosen;
    float total = 0, all = 0;
    for (int rank = 0; rank < moe.top_k; ++rank) chosen.push_back(next(logits, chosen));
    for (int expert : chosen) total += std::exp(logits[expert] - logits[chosen[0]]);
    for (std::size_t expert = 0; expert < moe.experts.size(); ++expert) all += std::exp(logits[expert] - logits[chosen[0]]);
    for (int expert : chosen) {
      std::vector<float> gate_up(2 * kSize), product(kSize), output(kHidden);
      linear({x, 1, kHidden}, *moe.experts[static_cast<std::size_t>(expert)].gate_up, nullptr, {gate_up.data(), 1, 2 * kSize}, pool);
      silu_and_mul({gate_up.data(), 1, 2 * kSize}, {product.data(), 1, kSize}, pool);
      linear({product.data(), 1, kSize}, *moe.experts[static_cast<std::size_t>(expert)].down, nullptr, {output.data(), 1, kHidden}, pool);
      const float weight = std::exp(logits[expert] - logits[chosen[0]]) / (moe.renormalise ? total : all);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += weight * output[i];
    }
    return y;
  }

  int next(const float* logits, const std::vector<int>& chosen) const {
    int best = -1;
    for (int expert = 0; expert < static_cast<int>(moe.experts.size()); ++expert) {
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
  const Layer layer(4, 2, false, pool_);
  const std::vector<float> x = random_floats(2 * kHidden, 1), logits(8);
  EXPECT_NO_THROW(check_experts(layer.moe));
  MixtureOfExperts broken = layer.moe;
  broken.top_k = 5;
  EXPECT_THROW(check_experts(broken), std::invalid_argument);
  broken = layer.moe;
  std::swap(broken.experts[3].gate_up, broken.experts[3].down);
  EXPECT_THROW(check_experts(broken), std::invalid_argument);
  Routing routing;
  routing.reserve(1, 4, 2);
  EXPECT_THROW(routing.route({logits.data(), 2, 4}, 2, false, pool_), std::invalid_argument) << "more tokens than reserved";
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, MoeTest, ::testing::ValuesIn(cpu::available_isas()),
                         [](const auto& info) { return std::string(cpu::name_of(info.param)); });

}  // namespace
}  // namespace octavo
