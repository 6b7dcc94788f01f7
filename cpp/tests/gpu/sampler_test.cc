// The device sampler on the device, against definitions in double precision that sort the whole vocabulary.
#include "cuda/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "gpu/device_tensor.h"
#include "sampling/philox.h"
#include "sampling/row_state.h"
#include "sampling/sampler.h"

namespace octavo::cuda {
namespace {

struct Drawn {
  std::int32_t token = -1;
  double margin = 1.0;  // how far the draw, or a filter's bound, is from deciding otherwise
};

// Tokens that pass the filters, and how clearly, from logits after masks and penalties.
Drawn draw_by_definition(const std::vector<float>& logits, const RowSampling& sampling, double uniform) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  const double max = logits[order[0]];
  if (!std::isfinite(max)) return {};
  if (sampling.temperature == 0.0f) return {order[0], 1.0};
  Drawn drawn;
  const auto weight = [&](int token) { return std::exp((double{logits[token]} - max) / double{sampling.temperature}); };
  std::size_t kept = order.size();
  if (sampling.min_p > 0.0f) {
    kept = 0;
    while (kept < order.size() && weight(order[kept]) >= sampling.min_p) ++kept;
    for (std::size_t i = kept > 0 ? kept - 1 : 0; i < std::min(kept + 1, order.size()); ++i) {
      drawn.margin = std::min(drawn.margin, std::abs(weight(order[i]) - sampling.min_p));
    }
  }
  if (sampling.top_k > 0) kept = std::min<std::size_t>(kept, static_cast<std::size_t>(sampling.top_k));
  double total = 0.0;
  for (std::size_t i = 0; i < kept; ++i) total += weight(order[i]);
  if (sampling.top_p < 1.0f) {
    double sum = 0.0;
    std::size_t count = 0;
    while (count < kept && sum < double{sampling.top_p} * total) {
      sum += weight(order[count++]);
      drawn.margin = std::min(drawn.margin, std::abs(sum / total - sampling.top_p));
    }
    kept = count;
    total = sum;
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept));
  double sum = 0.0;
  for (std::size_t i = 0; i < kept; ++i) {
    sum += weight(order[i]);
    drawn.margin = std::min(drawn.margin, std::abs(sum / total - uniform));
    if (drawn.token < 0 && sum > uniform * total) drawn.token = order[i];
  }
  return drawn;
}

struct Case {
  RowSampling sampling;
  std::vector<std::int32_t> prompt;
};

// Rows of every kind, many of them with several parameters at once.
std::vector<Case> mixed_cases(int count, int vocab, std::mt19937& random) {
  std::vector<Case> cases(static_cast<std::size_t>(count));
  const auto some = [&] { return static_cast<std::int32_t>(random() % static_cast<unsigned>(vocab)); };
  for (int i = 0; i < count; ++i) {
    RowSampling& sampling = cases[static_cast<std::size_t>(i)].sampling;
    auto& prompt = cases[static_cast<std::size_t>(i)].prompt;
    for (int token = 0; token < 5 + i % 40; ++token) prompt.push_back(some());
    sampling.seed = 0x9E3779B97F4A7C15ull * static_cast<unsigned>(i + 1);
    sampling.choice = static_cast<std::uint32_t>(i % 3);
    if (i % 5 != 0) sampling.temperature = 0.3f + 0.2f * static_cast<float>(i % 7);
    if (i % 3 == 1) sampling.top_k = 1 + i * 13 % 900;
    if (i % 4 == 2) sampling.top_p = 0.5f + 0.07f * static_cast<float>(i % 7);
    if (i % 6 == 3) sampling.min_p = 0.02f;
    if (i % 4 == 3) sampling.num_logprobs = std::vector<int>{0, 5, 20, 64}[static_cast<std::size_t>(i / 4 % 4)];
    if (i % 7 == 2) sampling.repetition_penalty = 1.2f, sampling.frequency_penalty = 0.3f;
    if (i % 7 == 4) sampling.presence_penalty = -0.5f;
    if (i % 8 == 5) sampling.logit_bias = {{some(), 5.0f}, {some(), -100.0f}};
    if (i % 9 == 7) sampling.allowed_token_ids = {some(), some(), some()};
    if (i % 10 == 6) sampling.bad_words = {{some()}, {prompt.back(), some()}};
    if (i % 11 == 8) sampling.min_tokens = 2, sampling.blocked_until_min = {some(), some()};
  }
  return cases;
}

class DeviceSampling : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
  }
};

Span<const std::int32_t> span(const std::vector<std::int32_t>& values) { return {values.data(), static_cast<std::int64_t>(values.size())}; }

void expect_report(const TokenReport& report, const std::vector<float>& logits, std::int32_t token, int num_asked) {
  const int num_top = std::min(num_asked, static_cast<int>(logits.size()));
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  int rank = 1;
  for (float logit : logits) {
    sum += std::exp(double{logit} - max);
    rank += logit > logits[static_cast<std::size_t>(token)];
  }
  const double normaliser = max + std::log(sum);
  EXPECT_NEAR(report.logprob, logits[static_cast<std::size_t>(token)] - normaliser, 1e-5);
  EXPECT_EQ(report.rank, rank);
  ASSERT_EQ(static_cast<int>(report.top_ids.size()), num_top);
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + num_top, order.end(),
                    [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (int i = 0; i < num_top; ++i) {
    EXPECT_EQ(report.top_ids[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(i)]);
    EXPECT_NEAR(report.top_logprobs[static_cast<std::size_t>(i)], logits[order[i]] - normaliser, 1e-5);
  }
}

TEST_P(DeviceSampling, MixedRowsDrawByDefinition) {
  const int vocab = GetParam(), count = 64;
  std::mt19937 random(31);
  const std::vector<Case> cases = mixed_cases(count, vocab, random);
  const auto sampler = make_device_sampler(2 * count, count, vocab, 2);
  std::vector<RowState> states;
  std::vector<std::int32_t> rows, logits_rows;
  for (int i = 0; i < count; ++i) {
    const Case& c = cases[static_cast<std::size_t>(i)];
    rows.push_back(2 * count - 1 - i);
    logits_rows.push_back(i * 7 % count);
    sampler->start_row(rows.back(), span(c.prompt), static_cast<std::int64_t>(c.prompt.size()), c.sampling, nullptr);
    states.emplace_back(c.sampling, span(c.prompt), static_cast<std::int64_t>(c.prompt.size()), vocab);
  }
  int num_near = 0;
  for (int step = 0; step < 4; ++step) {
    auto logits = DeviceTensor::random(count, vocab, DType::f32, 100u + static_cast<unsigned>(step), 3.0f);
    sampler->launch(logits.view(), span(rows), span(logits_rows), {}, step % 2, nullptr);
    check(cudaDeviceSynchronize(), "sampling");
    const std::vector<SampledToken> sampled = sampler->collect(step % 2);
    std::vector<std::int32_t> last_ids(static_cast<std::size_t>(2 * count));
    check(cudaMemcpy(last_ids.data(), sampler->last_ids(), last_ids.size() * 4, cudaMemcpyDeviceToHost), "last ids");
    for (int i = 0; i < count; ++i) {
      SCOPED_TRACE(concat("vocabulary ", vocab, ", step ", step, ", row ", i));
      const RowSampling& sampling = cases[static_cast<std::size_t>(i)].sampling;
      std::vector<float> raw(static_cast<std::size_t>(vocab)), adjusted(raw.size());
      for (int id = 0; id < vocab; ++id) raw[static_cast<std::size_t>(id)] = logits.at(logits_rows[static_cast<std::size_t>(i)], id);
      RowState& state = states[static_cast<std::size_t>(i)];
      state.adjust({raw.data(), vocab}, {adjusted.data(), vocab});
      const Drawn expected = draw_by_definition(
          adjusted, sampling, uniform_draw(sampling.seed, sampling.choice, static_cast<std::uint64_t>(state.num_tokens())));
      ASSERT_EQ(sampled[static_cast<std::size_t>(i)].token_id.has_value(), expected.token >= 0);
      if (expected.token < 0) continue;
      const std::int32_t token = *sampled[static_cast<std::size_t>(i)].token_id;
      if (expected.margin < 1e-5) {
        ++num_near;
      } else {
        EXPECT_EQ(token, expected.token) << "margin " << expected.margin;
      }
      EXPECT_EQ(last_ids[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])], token);
      EXPECT_EQ(sampled[static_cast<std::size_t>(i)].report.has_value(), sampling.num_logprobs.has_value());
      if (sampled[static_cast<std::size_t>(i)].report)
        expect_report(*sampled[static_cast<std::size_t>(i)].report, raw, token, *sampling.num_logprobs);
      state.append(token);
    }
  }
  EXPECT_LE(num_near, count) << "of " << 4 * count;
}

TEST_P(DeviceSampling, GreedyRowsTakeTheFirstOfTheBest) {
  const int vocab = GetParam();
  for (const int count : {1, 3, 200}) {
    const auto sampler = make_device_sampler(256, 256, vocab, 1);
    std::vector<std::int32_t> rows(static_cast<std::size_t>(count)), logits_rows(static_cast<std::size_t>(count));
    std::iota(rows.begin(), rows.end(), 0);
    std::iota(logits_rows.begin(), logits_rows.end(), 0);
    const std::vector<std::int32_t> prompt{1, 2, 3};
    for (std::int32_t row : rows) sampler->start_row(row, span(prompt), 3, RowSampling{}, nullptr);
    for (const DType type : {DType::f32, DType::bf16}) {
      auto logits = DeviceTensor::random(count, vocab, type, 7, 3.0f);
      std::vector<float> values = logits.values();
      if (count == 3) {
        values[static_cast<std::size_t>(vocab) + 5] = NAN;
        for (int id = 0; id < vocab; ++id) values[static_cast<std::size_t>(2 * vocab + id)] = -INFINITY;
      }
      logits.set(values);
      sampler->launch(logits.view(), span(rows), span(logits_rows), {}, 0, nullptr);
      check(cudaDeviceSynchronize(), "sampling");
      const std::vector<SampledToken> sampled = sampler->collect(0);
      for (int row = 0; row < count; ++row) {
        const auto begin = values.begin() + std::int64_t{row} * vocab;
        if (count == 3 && row > 0) {
          EXPECT_FALSE(sampled[static_cast<std::size_t>(row)].token_id) << "a row that is not finite has no token";
        } else {
          EXPECT_EQ(sampled[static_cast<std::size_t>(row)].token_id, std::max_element(begin, begin + vocab) - begin);
        }
      }
    }
  }
}

TEST_P(DeviceSampling, ScoresGivenTokens) {
  const int vocab = GetParam(), count = 150;
  const auto sampler = make_device_sampler(4, 256, vocab, 1);
  auto logits = DeviceTensor::random(count, vocab, DType::f32, 3, 3.0f);
  std::vector<std::int32_t> logits_rows, token_ids, num_tops;
  for (int i = 0; i < count; ++i) {
    logits_rows.push_back((i * 11) % count);
    token_ids.push_back(i * 977 % vocab);
    num_tops.push_back(std::vector<int>{0, 1, 10, 64}[static_cast<std::size_t>(i % 4)]);
  }
  sampler->launch_scores(logits.view(), span(logits_rows), span(token_ids), span(num_tops), 0, nullptr);
  check(cudaDeviceSynchronize(), "scores");
  const auto reports = sampler->collect_scores(0);
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const auto begin = logits.values().begin() + std::int64_t{logits_rows[i]} * vocab;
    ASSERT_TRUE(reports[i]);
    expect_report(*reports[i], std::vector<float>(begin, begin + vocab), token_ids[i], num_tops[i]);
  }
}

TEST_P(DeviceSampling, ForksGoOnFromTheirRow) {
  const int vocab = GetParam();
  const auto sampler = make_device_sampler(4, 8, vocab, 1);
  RowSampling sampling;
  sampling.temperature = 1.0f;
  sampling.seed = 5;
  sampling.frequency_penalty = 0.8f;
  sampling.bad_words = {{3, 4}};
  const std::vector<std::int32_t> prompt{3, 9}, first{0}, both{0, 1}, zero{0}, zeros{0, 0};
  sampler->start_row(0, span(prompt), 2, sampling, nullptr);
  auto logits = DeviceTensor::random(1, vocab, DType::f32, 3, 3.0f);
  sampler->launch(logits.view(), span(first), span(zero), {}, 0, nullptr);
  sampler->fork_row(0, 1, sampling, nullptr);
  sampler->launch(logits.view(), span(both), span(zeros), {}, 0, nullptr);
  check(cudaDeviceSynchronize(), "sampling");
  const auto same = sampler->collect(0);
  EXPECT_EQ(same[0].token_id, same[1].token_id) << "equal parameters and tokens draw alike";
  sampler->end_row(1);
  sampling.choice = 1;
  sampler->fork_row(0, 1, sampling, nullptr);
  int num_different = 0;
  for (int step = 0; step < 8; ++step) {
    sampler->launch(logits.view(), span(both), span(zeros), {}, 0, nullptr);
    check(cudaDeviceSynchronize(), "sampling");
    const auto drawn = sampler->collect(0);
    num_different += drawn[0].token_id != drawn[1].token_id;
  }
  EXPECT_GT(num_different, 0) << "another choice draws for itself";
}

TEST_P(DeviceSampling, RefusesWhatItCannotDo) {
  const auto sampler = make_device_sampler(2, 2, GetParam(), 1);
  const std::vector<std::int32_t> prompt{1}, twice{0, 0}, rows{0}, logits_rows{0, 0}, beyond{1};
  RowSampling sampling;
  sampling.num_logprobs = 65;
  EXPECT_THROW(sampler->start_row(0, span(prompt), 1, sampling, nullptr), std::invalid_argument);
  EXPECT_THROW(sampler->start_row(2, span(prompt), 1, {}, nullptr), std::invalid_argument);
  sampler->start_row(0, span(prompt), 1, {}, nullptr);
  EXPECT_THROW(sampler->start_row(0, span(prompt), 1, {}, nullptr), std::invalid_argument);
  auto logits = DeviceTensor::random(1, GetParam(), DType::f32, 3);
  EXPECT_THROW(sampler->launch(logits.view(), span(twice), span(logits_rows), {}, 0, nullptr), std::invalid_argument);
  EXPECT_THROW(sampler->launch(logits.view(), span(rows), span(beyond), {}, 0, nullptr), std::invalid_argument);
  EXPECT_THROW(sampler->launch(logits.view(), span(rows), span(rows), span(rows), 0, nullptr), std::invalid_argument);
  EXPECT_THROW(sampler->append(0, span(std::vector<std::int32_t>{GetParam()}), nullptr), std::invalid_argument);
  EXPECT_THROW(sampler->end_row(1), std::invalid_argument);
}

TEST_P(DeviceSampling, MaskedRowsDrawWhatMayCome) {
  const int vocab = GetParam(), count = 5;
  const auto sampler = make_device_sampler(8, 8, vocab, 2);
  const std::vector<std::int32_t> prompt{1, 2}, masked{4, 1};
  std::vector<std::int32_t> rows(count), logits_rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(logits_rows.begin(), logits_rows.end(), 0);
  for (int row = 0; row < count; ++row) {
    RowSampling sampling;
    sampling.temperature = row == 4 ? 1.0f : 0.0f;
    sampling.frequency_penalty = row == 1 ? 2.0f : 0.0f;
    sampler->start_row(row, span(prompt), 2, sampling, nullptr);
  }
  for (int step = 0; step < 3; ++step) {
    const auto logits = DeviceTensor::random(count, vocab, DType::f32, 50u + static_cast<unsigned>(step), 3.0f);
    const Matrix<std::int32_t> masks = sampler->masks(2, step % 2);
    for (std::int64_t i = 0; i < 2; ++i) {
      for (std::int64_t word = 0; word < masks.cols; ++word) masks.row(i)[word] = 0;
      for (int id = 7 + step; id < vocab; id += 13) masks.row(i)[id / 32] |= static_cast<std::int32_t>(1u << (id % 32));
    }
    sampler->launch(logits.view(), span(rows), span(logits_rows), span(masked), step % 2, nullptr);
    check(cudaDeviceSynchronize(), "sampling");
    const std::vector<SampledToken> sampled = sampler->collect(step % 2);
    for (int row = 0; row < count; ++row) {
      const bool is_masked = row == 1 || row == 4;
      ASSERT_TRUE(sampled[static_cast<std::size_t>(row)].token_id);
      const std::int32_t token = *sampled[static_cast<std::size_t>(row)].token_id;
      if (is_masked) EXPECT_EQ(token % 13, (7 + step) % 13);
      const auto begin = logits.values().begin() + std::int64_t{row} * vocab;
      if (!is_masked) EXPECT_EQ(token, std::max_element(begin, begin + vocab) - begin);
    }
  }
  const auto logits = DeviceTensor::random(count, vocab, DType::f32, 9);
  const Matrix<std::int32_t> none = sampler->masks(2, 0);
  for (std::int64_t i = 0; i < 2 * none.cols; ++i) none.row(0)[i] = 0;
  sampler->launch(logits.view(), span(rows), span(logits_rows), span(masked), 0, nullptr);
  check(cudaDeviceSynchronize(), "sampling");
  EXPECT_FALSE(sampler->collect(0)[4].token_id) << "every token is barred";
}

TEST_P(DeviceSampling, AppendedTokensCountAsOutputs) {
  const int vocab = GetParam();
  const auto sampler = make_device_sampler(2, 2, vocab, 1);
  RowSampling sampling;
  sampling.frequency_penalty = 1.5f;
  sampling.bad_words = {{5, 6, 7}};
  sampling.min_tokens = 40;
  sampling.blocked_until_min = {3};
  const std::vector<std::int32_t> prompt{1, 2}, row{0};
  std::vector<std::int32_t> appended(41, 8);
  appended[39] = 5;
  appended[40] = 6;
  sampler->start_row(0, span(prompt), 2, sampling, nullptr);
  sampler->append(0, span(appended), nullptr);
  RowState state(sampling, span(prompt), 2, vocab);
  for (std::int32_t token : appended) state.append(token);
  const auto logits = DeviceTensor::random(1, vocab, DType::f32, 3, 3.0f);
  std::vector<float> adjusted(static_cast<std::size_t>(vocab));
  state.adjust({logits.values().data(), vocab}, {adjusted.data(), vocab});
  sampler->launch(logits.view(), span(row), span(row), {}, 0, nullptr);
  check(cudaDeviceSynchronize(), "sampling");
  EXPECT_EQ(sampler->collect(0)[0].token_id, std::max_element(adjusted.begin(), adjusted.end()) - adjusted.begin());
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, DeviceSampling, testing::Values(151936, 32001, 61));

}  // namespace
}  // namespace octavo::cuda
