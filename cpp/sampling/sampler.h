// Logits to tokens. A row's token depends on its logits, its parameters and its own tokens, never on the batch or the threads:
//
//   raw logits -> masks (a grammar's, allowed ids, bad words, min_tokens) -> logit_bias -> repetition, frequency, presence penalties
//   -> temperature 0: the most probable token, else temperature, min_p, top_k, top_p and a draw keyed by (seed, choice, position)
//
// where position is the number of tokens the row has. Reports speak of the raw logits.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "sampling/logprobs.h"
#include "sampling/row_state.h"
#include "sampling/workspace.h"

namespace octavo {

struct SampledToken {
  std::optional<std::int32_t> token_id;  // none: a logit is NaN, the largest is not finite, or the masks leave no token
  std::optional<TokenReport> report;     // when the row asks for log-probabilities and has a token
};

class Sampler {
 public:
  Sampler(std::int64_t max_num_seqs, std::int64_t vocab_size, cpu::ThreadPool& pool);

  std::int64_t vocab_size() const { return vocab_size_; }
  // token_ids: every token of the row, prompt first. Throws std::invalid_argument for a row in use or a parameter out of range.
  void start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens, RowSampling sampling);
  void end_row(std::int64_t row);

  // Draws a token for each of `rows` (distinct, started), that of rows[i] from row logits_rows[i] of logits [L, V], and appends it.
  // masks [rows.size, ceil(V / 32)]: bit v % 32 of word v / 32 of row i is set where rows[i] may draw token v; no rows: all may.
  std::vector<SampledToken> sample(Matrix<const float> logits, Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows,
                                   Matrix<const std::int32_t> masks = {});
  // Appends tokens that the row has without drawing them.
  void append(std::int64_t row, Span<const std::int32_t> token_ids);

  // Reports of given tokens, one per row of logits [n, V]; none where a logit is NaN or the largest is not finite.
  std::vector<std::optional<TokenReport>> score(Matrix<const float> logits, Span<const std::int32_t> token_ids, std::int64_t num_top);

 private:
  RowState& started(std::int64_t row);
  void check_rows(Span<const std::int32_t> rows);
  SampledToken sample_row(Span<const float> logits, const RowState& state, const std::int32_t* mask);

  std::int64_t vocab_size_;
  cpu::ThreadPool& pool_;
  SampleWorkspace workspace_;
  std::vector<std::optional<RowState>> rows_;
  std::vector<char> scheduled_;  // rows of the call under way: a row named twice is a mistake
};

}  // namespace octavo
