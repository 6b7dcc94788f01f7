// What the sampler remembers of a running row: its parameters, how many tokens it has, and of the tokens themselves only what its
// penalties and bad words need.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/tensor_view.h"
#include "sampling/row_sampling.h"

namespace octavo {

class RowState {
 public:
  // token_ids: prompt, then outputs. Throws std::invalid_argument naming what is not within 0..vocab_size-1.
  RowState(RowSampling sampling, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens, std::int64_t vocab_size);

  const RowSampling& sampling() const { return sampling_; }
  std::int64_t num_tokens() const { return num_tokens_; }
  void append(std::int32_t token_id);

  // Whether adjust() would leave the logits as they are.
  bool keeps_logits() const;
  // adjusted = logits after masks (allowed ids, bad words, min_tokens), bias and penalties, in this order. Both [V].
  void adjust(Span<const float> logits, Span<float> adjusted) const;

 private:
  void remember(std::int32_t token_id, bool is_output);
  bool below_min_tokens() const { return num_outputs_ < sampling_.min_tokens && !sampling_.blocked_until_min.empty(); }
  bool tail_matches(const std::vector<std::int32_t>& bad_word) const;
  void mask(Span<float> logits) const;
  void penalise(Span<float> logits) const;

  RowSampling sampling_;
  std::int64_t num_tokens_ = 0;
  std::int64_t num_outputs_ = 0;
  std::size_t max_tail_ = 0;                                   // the longest bad word, less its last token
  std::vector<std::int32_t> tail_;                             // the last tokens, at most max_tail_
  std::unordered_map<std::int32_t, std::int64_t> num_output_;  // token seen -> how often in the output (0: in the prompt only)
};

}  // namespace octavo
