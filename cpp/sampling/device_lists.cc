#include "sampling/device_lists.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace octavo {
namespace {

template <typename Values>
std::int64_t add(std::vector<std::int32_t>& words, const Values& values) {
  const auto offset = static_cast<std::int64_t>(words.size());
  words.insert(words.end(), values.begin(), values.end());
  return offset;
}

void add_biases(const RowSampling& sampling, DeviceLists& lists) {
  std::map<std::int32_t, float> by_id;  // threads add biases side by side, so an id has one
  for (const auto& [token_id, bias] : sampling.logit_bias) by_id[token_id] += bias;
  std::vector<std::int32_t> ids, bits;
  for (const auto& [token_id, bias] : by_id) {
    std::int32_t word;
    std::memcpy(&word, &bias, sizeof word);
    ids.push_back(token_id);
    bits.push_back(word);
  }
  lists.parameters.num_bias = static_cast<std::int32_t>(ids.size());
  lists.bias_ids = add(lists.words, ids);
  lists.biases = add(lists.words, bits);
}

void add_bad_words(const RowSampling& sampling, Span<const std::int32_t> token_ids, DeviceLists& lists) {
  std::vector<std::int32_t> indptr{0}, words;
  std::size_t longest = 1;
  for (const auto& word : sampling.bad_words) {
    words.insert(words.end(), word.begin(), word.end());
    indptr.push_back(static_cast<std::int32_t>(words.size()));
    longest = std::max(longest, word.size());
  }
  lists.parameters.num_bad_words = static_cast<std::int32_t>(sampling.bad_words.size());
  lists.parameters.max_tail = static_cast<std::int32_t>(longest - 1);
  if (sampling.bad_words.empty()) return;
  lists.bad_word_indptr = add(lists.words, indptr);
  lists.bad_words = add(lists.words, words);
  lists.num_tail = static_cast<std::int32_t>(std::min<std::int64_t>(lists.parameters.max_tail, token_ids.size));
  std::vector<std::int32_t> tail(token_ids.data + token_ids.size - lists.num_tail, token_ids.data + token_ids.size);
  tail.resize(longest - 1);
  lists.tail = add(lists.words, tail);
}

}  // namespace

DeviceLists device_lists(const RowSampling& sampling, Span<const std::int32_t> token_ids) {
  DeviceLists lists;
  device::RowParameters& row = lists.parameters;
  row.temperature = sampling.temperature;
  row.top_k = sampling.top_k;
  row.top_p = sampling.top_p;
  row.min_p = sampling.min_p;
  row.top_n_sigma = sampling.top_n_sigma;
  row.seed = sampling.seed;
  row.choice = sampling.choice;
  row.num_logprobs = sampling.num_logprobs.value_or(-1);
  row.repetition_penalty = sampling.repetition_penalty;
  row.presence_penalty = sampling.presence_penalty;
  row.frequency_penalty = sampling.frequency_penalty;
  row.min_tokens = sampling.min_tokens;
  row.always_adjusts =
      sampling.allowed_token_ids || !sampling.bad_words.empty() || !sampling.logit_bias.empty() || sampling.counts_tokens();
  add_biases(sampling, lists);
  if (sampling.allowed_token_ids) {
    row.num_allowed = static_cast<std::int32_t>(sampling.allowed_token_ids->size());
    lists.allowed = add(lists.words, *sampling.allowed_token_ids);
  }
  row.num_blocked = static_cast<std::int32_t>(sampling.blocked_until_min.size());
  lists.blocked = add(lists.words, sampling.blocked_until_min);
  add_bad_words(sampling, token_ids, lists);
  return lists;
}

device::RowParameters DeviceLists::place(std::int32_t* base) const {
  device::RowParameters row = parameters;
  row.bias_ids = base + bias_ids;
  row.biases = reinterpret_cast<const float*>(base + biases);
  row.allowed = base + allowed;
  row.blocked = base + blocked;
  row.bad_word_indptr = base + bad_word_indptr;
  row.bad_words = base + bad_words;
  row.tail = base + tail;
  return row;
}

}  // namespace octavo
