// Sampling parameters of a row; the meanings are those of octavo.step.RowSampling.
#pragma once
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace octavo {

struct RowSampling {
  float temperature = 0.0f;  // 0: the most probable token
  std::int32_t top_k = 0;    // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  std::uint64_t seed = 0;
  std::uint32_t choice = 0;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::vector<std::pair<std::int32_t, float>> logit_bias;
  std::optional<std::vector<std::int32_t>> allowed_token_ids;
  std::vector<std::vector<std::int32_t>> bad_words;
  std::int64_t min_tokens = 0;
  std::vector<std::int32_t> blocked_until_min;
  std::optional<std::int32_t> num_logprobs;

  bool counts_tokens() const { return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f; }
};

}  // namespace octavo
