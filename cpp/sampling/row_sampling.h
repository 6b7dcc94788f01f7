// Sampling parameters of a row; names and meanings are those of octavo.step.RowSampling. A field is declared, named and checked here.
#pragma once
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"

namespace octavo {

struct RowSampling {
  float temperature = 0.0f;  // 0: the most probable token
  std::int32_t top_k = 0;    // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float top_n_sigma = 0.0f;  // 0: all
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

  // f(name, field) for each field.
  template <typename F>
  void for_each_field(F&& f) {
    f("temperature", temperature);
    f("top_k", top_k);
    f("top_p", top_p);
    f("min_p", min_p);
    f("top_n_sigma", top_n_sigma);
    f("seed", seed);
    f("choice", choice);
    f("repetition_penalty", repetition_penalty);
    f("presence_penalty", presence_penalty);
    f("frequency_penalty", frequency_penalty);
    f("logit_bias", logit_bias);
    f("allowed_token_ids", allowed_token_ids);
    f("bad_words", bad_words);
    f("min_tokens", min_tokens);
    f("blocked_until_min", blocked_until_min);
    f("num_logprobs", num_logprobs);
  }

  // Throws std::invalid_argument naming a number that is out of range (NaN is); token ids are not looked at.
  void check_numbers() const {
    require(temperature >= 0.0f, "temperature is ", temperature, "; it must be at least 0");
    require(repetition_penalty > 0.0f, "repetition_penalty is ", repetition_penalty, "; it must be greater than 0");
    require(top_p > 0.0f && top_p <= 1.0f, "top_p is ", top_p, "; it must be greater than 0 and at most 1");
    require(min_p >= 0.0f && min_p <= 1.0f, "min_p is ", min_p, "; it must be within 0..1");
    require(top_n_sigma >= 0.0f && top_n_sigma <= 100.0f, "top_n_sigma is ", top_n_sigma, "; it must be within 0..100");
    require(top_k >= 0, "top_k is ", top_k, "; it must be at least 0");
    require(num_logprobs.value_or(0) >= 0, "num_logprobs is ", num_logprobs.value_or(0), "; it must be at least 0");
  }

  bool counts_tokens() const { return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f; }
};

}  // namespace octavo
