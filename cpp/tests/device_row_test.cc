// What the device sampler does to a row's logits, run by threads of the host, against the processor's sampler: equal bits.
#include "sampling/device_row.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "host_team.h"
#include "sampling/device_lists.h"
#include "sampling/row_state.h"

namespace octavo {
namespace {

constexpr int kVocab = 97;

// A row of both samplers: the processor's, and the device's with its memory on the host.
class TwinRow {
 public:
  TwinRow(const RowSampling& sampling, const std::vector<std::int32_t>& token_ids, std::int64_t num_prompt_tokens)
      : expected_(sampling, {token_ids.data(), static_cast<std::int64_t>(token_ids.size())}, num_prompt_tokens, kVocab),
        lists_(device_lists(sampling, {token_ids.data(), static_cast<std::int64_t>(token_ids.size())})),
        counts_(kVocab, 0) {
    parameters_ = lists_.place(lists_.words.data());
    if (sampling.counts_tokens()) parameters_.counts = counts_.data();
    for (std::size_t i = 0; i < token_ids.size(); ++i) {
      auto& count = counts_[static_cast<std::size_t>(token_ids[i])];
      count = (count | device::kSeen) + (static_cast<std::int64_t>(i) >= num_prompt_tokens);
    }
    progress_.num_tokens = static_cast<std::int64_t>(token_ids.size());
    progress_.num_outputs = progress_.num_tokens - num_prompt_tokens;
    progress_.num_tail = lists_.num_tail;
  }

  void expect_equal(const std::vector<float>& logits) {
    std::vector<float> expected(logits.size()), adjusted(logits.size());
    EXPECT_EQ(device::adjusts(parameters_, progress_), !expected_.keeps_logits());
    expected_.adjust({logits.data(), kVocab}, {expected.data(), kVocab});
    HostTeam::run(3, [&](HostTeam& team) { device::adjust(team, parameters_, progress_, logits.data(), adjusted.data(), kVocab); });
    EXPECT_EQ(std::memcmp(expected.data(), adjusted.data(), expected.size() * sizeof(float)), 0);
  }

  void append(std::int32_t token_id) {
    expected_.append(token_id);
    device::append(parameters_, progress_, token_id);
    EXPECT_EQ(progress_.num_tokens, expected_.num_tokens());
  }

 private:
  RowState expected_;
  DeviceLists lists_;
  std::vector<std::uint32_t> counts_;
  device::RowParameters parameters_;
  device::RowProgress progress_;
};

std::vector<float> random_logits(std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// Few ids, so that penalties, bad words and masks meet.
std::int32_t few(std::mt19937& random) { return static_cast<std::int32_t>(random() % 7); }

RowSampling random_sampling(std::mt19937& random) {
  RowSampling sampling;
  if (random() % 2) sampling.repetition_penalty = 1.3f;
  if (random() % 2) sampling.presence_penalty = 0.37f;
  if (random() % 2) sampling.frequency_penalty = -0.11f;
  if (random() % 2) sampling.logit_bias = {{few(random), 1.7f}, {few(random) + 7, -100.0f}};
  if (random() % 3 == 0) sampling.allowed_token_ids = {few(random), few(random), few(random)};
  if (random() % 2) sampling.bad_words = {{few(random)}, {few(random), few(random)}, {few(random), few(random), few(random)}};
  if (random() % 2) {
    sampling.min_tokens = 4;
    sampling.blocked_until_min = {few(random), few(random)};
  }
  return sampling;
}

TEST(DeviceRow, ChangesLogitsAsTheProcessorDoes) {
  std::mt19937 random(23);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::int32_t> token_ids;
    for (int i = static_cast<int>(random() % 6); i > 0; --i) token_ids.push_back(few(random));
    const auto num_prompt_tokens = static_cast<std::int64_t>(token_ids.size()) - (token_ids.empty() ? 0 : random() % 2);
    TwinRow row(random_sampling(random), token_ids, num_prompt_tokens);
    for (int step = 0; step < 6; ++step) {
      row.expect_equal(random_logits(random));
      row.append(few(random));
    }
  }
}

TEST(DeviceRow, AnEmptyListOfAllowedIdsLeavesNoToken) {
  std::mt19937 random(1);
  RowSampling sampling;
  sampling.allowed_token_ids = std::vector<std::int32_t>{};
  TwinRow(sampling, {1, 2}, 2).expect_equal(random_logits(random));
}

}  // namespace
}  // namespace octavo
