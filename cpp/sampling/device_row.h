// What the device sampler remembers of a running row, and how a row's logits are changed before a token is drawn. The order is that of
// sampling/row_state.h: masks, bias, penalties. Shared with tests, like device_select.h, whose Team this uses.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/device_code.h"

namespace octavo::device {

// Lists lie in one allocation per row; counts in another, where a penalty needs them.
struct RowParameters {
  float temperature = 0.0f;
  std::int32_t top_k = 0;
  float top_p = 1.0f, min_p = 0.0f, top_n_sigma = 0.0f;
  std::uint64_t seed = 0;
  std::uint32_t choice = 0;
  std::int32_t num_logprobs = -1;  // -1: no report
  float repetition_penalty = 1.0f, presence_penalty = 0.0f, frequency_penalty = 0.0f;
  std::int64_t min_tokens = 0;
  bool always_adjusts = false;  // adjust() changes logits at every draw, not before min_tokens alone
  std::int32_t num_bias = 0, num_allowed = -1, num_blocked = 0, num_bad_words = 0, max_tail = 0;  // num_allowed -1: all
  const std::int32_t* bias_ids = nullptr;
  const float* biases = nullptr;
  const std::int32_t* allowed = nullptr;
  const std::int32_t* blocked = nullptr;          // until min_tokens
  const std::int32_t* bad_word_indptr = nullptr;  // [num_bad_words + 1] into bad_words
  const std::int32_t* bad_words = nullptr;
  std::int32_t* tail = nullptr;     // [max_tail], the row's last tokens, oldest first
  std::uint32_t* counts = nullptr;  // [V]: kSeen, plus how often in the output; null: no penalties
};

constexpr std::uint32_t kSeen = 0x80000000u;

// What a draw changes.
struct RowProgress {
  std::int64_t num_tokens = 0;  // the position of the next draw
  std::int64_t num_outputs = 0;
  std::int32_t num_tail = 0;
};

OCTAVO_DEVICE bool below_min_tokens(const RowParameters& row, const RowProgress& progress) {
  return row.num_blocked > 0 && progress.num_outputs < row.min_tokens;
}

// Whether adjust() may change a logit.
OCTAVO_DEVICE bool adjusts(const RowParameters& row, const RowProgress& progress) {
  return row.always_adjusts || below_min_tokens(row, progress);
}

OCTAVO_DEVICE bool tail_matches(const RowParameters& row, const RowProgress& progress, const std::int32_t* word, std::int32_t length) {
  if (length > progress.num_tail) return false;
  for (std::int32_t i = 0; i < length; ++i) {
    if (row.tail[progress.num_tail - length + i] != word[i]) return false;
  }
  return true;
}

template <typename Team>
OCTAVO_DEVICE void mask(Team& team, const RowParameters& row, const RowProgress& progress, const float* logits, float* adjusted,
                        int vocab) {
  if (row.num_allowed >= 0) {
    for (int i = team.thread(); i < vocab; i += team.num_threads()) adjusted[i] = -INFINITY;
    team.sync();
    for (int i = team.thread(); i < row.num_allowed; i += team.num_threads()) adjusted[row.allowed[i]] = logits[row.allowed[i]];
  } else {
    for (int i = team.thread(); i < vocab; i += team.num_threads()) adjusted[i] = logits[i];
  }
  team.sync();
  for (int i = team.thread(); i < row.num_bad_words; i += team.num_threads()) {
    const std::int32_t* word = row.bad_words + row.bad_word_indptr[i];
    const std::int32_t length = row.bad_word_indptr[i + 1] - row.bad_word_indptr[i] - 1;
    if (tail_matches(row, progress, word, length)) adjusted[word[length]] = -INFINITY;
  }
  if (below_min_tokens(row, progress)) {
    for (int i = team.thread(); i < row.num_blocked; i += team.num_threads()) adjusted[row.blocked[i]] = -INFINITY;
  }
  team.sync();
}

// adjusted [V] = logits [V] after masks, bias and penalties. Compiled without contraction: bits are those of the processor's.
template <typename Team>
OCTAVO_DEVICE void adjust(Team& team, const RowParameters& row, const RowProgress& progress, const float* logits, float* adjusted,
                          int vocab) {
  mask(team, row, progress, logits, adjusted, vocab);
  for (int i = team.thread(); i < row.num_bias; i += team.num_threads()) adjusted[row.bias_ids[i]] += row.biases[i];
  team.sync();
  if (row.counts == nullptr) return;
  for (int i = team.thread(); i < vocab; i += team.num_threads()) {
    const std::uint32_t count = row.counts[i];
    if (count == 0) continue;
    float logit = adjusted[i];
    logit = logit > 0.0f ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    const std::uint32_t num_output = count & ~kSeen;
    if (num_output > 0) {
      logit -= row.frequency_penalty * static_cast<float>(num_output);
      logit -= row.presence_penalty;
    }
    adjusted[i] = logit;
  }
  team.sync();
}

// adjusted[v] = -inf where bit v of a mask of 32-bit words is not set.
template <typename Team>
OCTAVO_DEVICE void apply_mask(Team& team, const std::int32_t* mask, float* adjusted, int vocab) {
  for (int i = team.thread(); i < vocab; i += team.num_threads()) {
    if (!(static_cast<std::uint32_t>(mask[i / 32]) >> (i % 32) & 1)) adjusted[i] = -INFINITY;
  }
  team.sync();
}

// One thread: a token was drawn, or has come from elsewhere.
OCTAVO_DEVICE void append(const RowParameters& row, RowProgress& progress, std::int32_t token_id) {
  ++progress.num_tokens;
  ++progress.num_outputs;
  if (row.counts != nullptr) row.counts[token_id] = (row.counts[token_id] | kSeen) + 1;
  if (row.max_tail == 0) return;
  if (progress.num_tail == row.max_tail) {
    for (std::int32_t i = 1; i < row.max_tail; ++i) row.tail[i - 1] = row.tail[i];
    --progress.num_tail;
  }
  row.tail[progress.num_tail++] = token_id;
}

}  // namespace octavo::device
