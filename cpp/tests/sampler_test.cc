#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "sampling/philox.h"
#include "sampling/select.h"

namespace octavo {
namespace {

std::vector<float> random_logits(std::int64_t count, int num_distinct) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::mt19937 generator(3);
  for (float& value : values) value = static_cast<float>(generator() % static_cast<unsigned>(num_distinct)) * 0.25f;
  return values;
}

// Known answers of the authors' Random123 library.
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}), (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, UniformDrawsFillTheUnitInterval) {
  double sum = 0, low = 1, high = 0;
  for (std::uint64_t position = 0; position < 10000; ++position) {
    const double draw = uniform_draw(42, 0, position);
    sum += draw;
    low = std::min(low, draw);
    high = std::max(high, draw);
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
  EXPECT_GE(low, 0.0);
  EXPECT_LT(low, 0.001);
  EXPECT_GT(high, 0.999);
  EXPECT_LT(high, 1.0);
}

class SelectTest : public ::testing::TestWithParam<cpu::Isa> {
 protected:
  const SampleKernels& kernels_ = sample_kernels(GetParam());
};

std::vector<Candidate> sorted_candidates(const std::vector<float>& logits) {
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < logits.size(); ++i) all.push_back({logits[i], static_cast<std::int32_t>(i), 0.0f});
  std::sort(all.begin(), all.end(), ranks_before);
  return all;
}

TEST_P(SelectTest, TopMatchesAFullSort) {
  for (std::int64_t vocab_size : {1, 5, 4096, 4097, 20011}) {
    for (int num_distinct : {1, 7, 1 << 30}) {
      const std::vector<float> logits = random_logits(vocab_size, num_distinct);
      const std::vector<Candidate> expected = sorted_candidates(logits);
      SampleBuffers buffers(vocab_size);
      for (std::int64_t count : {std::int64_t{1}, std::int64_t{50}, vocab_size / 2, vocab_size}) {
        if (count < 1 || count > vocab_size) continue;
        ASSERT_EQ(select_top(kernels_, {logits.data(), vocab_size}, count, buffers), count);
        std::sort(buffers.ranked.get(), buffers.ranked.get() + count, ranks_before);
        for (std::int64_t i = 0; i < count; ++i)
          ASSERT_EQ(buffers.ranked[i].id, expected[static_cast<std::size_t>(i)].id) << vocab_size << ", " << count;
      }
    }
  }
}

TEST_P(SelectTest, CutMatchesAWalkDownTheRanking) {
  const std::vector<float> logits = random_logits(3000, 500);
  std::vector<Candidate> ranked = sorted_candidates(logits);
  double total = 0;
  for (Candidate& candidate : ranked) total += candidate.weight = std::exp(candidate.value * 0.1f);
  for (double share : {1e-9, 0.1, 0.5, 0.999, 2.0}) {
    double above = 0;
    auto expected = ranked.begin();
    while (expected != ranked.end() - 1 && (above += expected->weight) < share * total) ++expected;
    std::vector<Candidate> shuffled = ranked;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(9));
    EXPECT_EQ(cut_at_weight(shuffled.data(), shuffled.data() + shuffled.size(), share * total).id, expected->id) << share;
  }
}

TEST_P(SelectTest, KernelsTakeEveryLength) {
  for (std::int64_t count = 1; count < 70; ++count) {
    std::vector<float> x = random_logits(count, 9);
    const auto best = std::max_element(x.begin(), x.end());
    EXPECT_EQ(kernels_.max(x.data(), count), *best);
    EXPECT_EQ(kernels_.find(x.data(), count, *best), best - x.begin());
    EXPECT_EQ(kernels_.find(x.data(), count, 77.0f), count);
    EXPECT_EQ(kernels_.count_greater(x.data(), count, 1.0f), std::count_if(x.begin(), x.end(), [](float v) { return v > 1.0f; }));
    std::vector<float> weights(x.size());
    float expected = 0;
    for (float value : x) expected += value > 0.5f ? std::exp((value - *best) / 2.0f) : 0.0f;
    EXPECT_NEAR(kernels_.weigh(x.data(), count, *best, 2.0f, 0.5f, weights.data()), expected, 1e-5f * static_cast<float>(count));
    x.back() = NAN;
    EXPECT_TRUE(std::isnan(kernels_.max(x.data(), count)));
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, SelectTest, ::testing::ValuesIn(cpu::available_isas()),
                         [](const auto& isa) { return cpu::name_of(isa.param); });

TEST(SamplerTest, FailedStartLeavesTheRowFree) {
  cpu::ThreadPool pool(1);
  Sampler sampler(1, 8, pool);
  RowSampling bad;
  bad.top_p = 0.0f;
  const std::int32_t prompt[] = {1};
  EXPECT_THROW(sampler.start_row(0, {prompt, 1}, 1, bad), std::invalid_argument);
  EXPECT_THROW(sampler.end_row(0), std::invalid_argument);
  sampler.start_row(0, {prompt, 1}, 1, RowSampling());
  const std::vector<float> logits = {0, 0, 5, 0, 0, 0, 0, 0};
  const std::int32_t rows[] = {0};
  EXPECT_EQ(sampler.sample({logits.data(), 1, 8}, {rows, 1}, {rows, 1}).front().token_id, 2);
}

}  // namespace
}  // namespace octavo
