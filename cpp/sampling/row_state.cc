#include "sampling/row_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace octavo {
namespace {

constexpr float kBarred = -INFINITY;

void check_id(const char* field, std::int32_t token_id, std::int64_t vocab_size) {
  require(token_id >= 0 && token_id < vocab_size, field, ": token id ", token_id, " is not within 0..", vocab_size - 1);
}

void check_ids(const char* field, const std::vector<std::int32_t>& token_ids, std::int64_t vocab_size) {
  for (std::int32_t token_id : token_ids) check_id(field, token_id, vocab_size);
}

void check(const RowSampling& sampling, std::int64_t vocab_size) {
  sampling.check_numbers();
  for (const auto& [token_id, bias] : sampling.logit_bias) {
    check_id("logit_bias", token_id, vocab_size);
    require(std::isfinite(bias), "logit_bias[", token_id, "] is ", bias, "; it must be finite");
  }
  if (sampling.allowed_token_ids) check_ids("allowed_token_ids", *sampling.allowed_token_ids, vocab_size);
  check_ids("blocked_until_min", sampling.blocked_until_min, vocab_size);
  for (const auto& bad_word : sampling.bad_words) {
    require(!bad_word.empty(), "bad_words: an entry has no tokens");
    check_ids("bad_words", bad_word, vocab_size);
  }
}

}  // namespace

RowState::RowState(RowSampling sampling, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens, std::int64_t vocab_size)
    : sampling_(std::move(sampling)) {
  check(sampling_, vocab_size);
  require(num_prompt_tokens >= 0 && num_prompt_tokens <= token_ids.size, "num_prompt_tokens is ", num_prompt_tokens, " of ", token_ids.size,
          " tokens");
  for (const auto& bad_word : sampling_.bad_words) max_tail_ = std::max(max_tail_, bad_word.size() - 1);
  for (std::int64_t i = 0; i < token_ids.size; ++i) {
    check_id("token_ids", token_ids[i], vocab_size);
    remember(token_ids[i], i >= num_prompt_tokens);
  }
}

void RowState::append(std::int32_t token_id) { remember(token_id, true); }

void RowState::remember(std::int32_t token_id, bool is_output) {
  ++num_tokens_;
  num_outputs_ += is_output;
  if (sampling_.counts_tokens()) num_output_[token_id] += is_output;
  if (max_tail_ == 0) return;
  if (tail_.size() == max_tail_) tail_.erase(tail_.begin());
  tail_.push_back(token_id);
}

bool RowState::keeps_logits() const {
  return !sampling_.allowed_token_ids && sampling_.bad_words.empty() && sampling_.logit_bias.empty() && !below_min_tokens() &&
         !sampling_.counts_tokens();
}

bool RowState::tail_matches(const std::vector<std::int32_t>& bad_word) const {
  const std::size_t length = bad_word.size() - 1;
  return tail_.size() >= length && std::equal(bad_word.begin(), bad_word.end() - 1, tail_.end() - static_cast<std::ptrdiff_t>(length));
}

void RowState::mask(Span<float> logits) const {
  for (const auto& bad_word : sampling_.bad_words) {
    if (tail_matches(bad_word)) logits[bad_word.back()] = kBarred;
  }
  if (!below_min_tokens()) return;
  for (std::int32_t token_id : sampling_.blocked_until_min) logits[token_id] = kBarred;
}

void RowState::penalise(Span<float> logits) const {
  for (const auto& [token_id, num_output] : num_output_) {
    float& logit = logits[token_id];
    logit = logit > 0.0f ? logit / sampling_.repetition_penalty : logit * sampling_.repetition_penalty;
    if (num_output == 0) continue;
    logit -= sampling_.frequency_penalty * static_cast<float>(num_output);
    logit -= sampling_.presence_penalty;
  }
}

void RowState::adjust(Span<const float> logits, Span<float> adjusted) const {
  if (sampling_.allowed_token_ids) {
    std::fill_n(adjusted.data, adjusted.size, kBarred);
    for (std::int32_t token_id : *sampling_.allowed_token_ids) adjusted[token_id] = logits[token_id];
  } else {
    std::copy_n(logits.data, logits.size, adjusted.data);
  }
  mask(adjusted);
  for (const auto& [token_id, bias] : sampling_.logit_bias) adjusted[token_id] += bias;
  penalise(adjusted);
}

}  // namespace octavo
