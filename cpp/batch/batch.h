// The persistent batch: turns a step's diffs into the flat arrays that the model reads.
//
// The arrays of a step stay at one address for the life of the batch; only their lengths change. Rows that keep their place in
// the batch from one step to the next have only their new blocks copied, so a decode step costs O(rows), not O(blocks).
// Used by one thread (the runner's). Letters: T tokens, R rows, L logits rows, M blocks of the longest sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "batch/row_store.h"
#include "batch/zeroed_array.h"

namespace octavo::batch {

// One entry per scheduled row, in batch order; meanings as in StepPlan.
struct Step {
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> num_computed_tokens;
  std::vector<std::int32_t> num_scheduled_tokens;
  std::vector<std::int32_t> num_logits;
  std::vector<std::int32_t> new_block_ids;        // of all rows, one after another
  std::vector<std::int32_t> new_block_indptr{0};  // [R + 1]

  const std::int32_t* new_blocks(std::size_t i) const { return new_block_ids.data() + new_block_indptr[i]; }
  std::int32_t num_new_blocks(std::size_t i) const { return new_block_indptr[i + 1] - new_block_indptr[i]; }
};

class Batch {
 public:
  // Throws std::invalid_argument unless every limit is at least 1.
  explicit Batch(const BatchLimits& limits);

  void start_row(std::int32_t row, const std::vector<std::int32_t>& token_ids, std::int32_t num_prompt_tokens);
  void end_row(std::int32_t row) { rows_.end(row); }
  // Appends one token to each row; all or, where it throws, none.
  void append_tokens(const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& token_ids);
  // Builds the arrays below; where it throws std::invalid_argument, rows and arrays are as they were.
  void prepare(const Step& step);

  const RowStore& rows() const { return rows_; }
  std::int32_t max_blocks_per_row() const { return limits_.max_blocks_per_row(); }

  std::int32_t num_tokens() const { return num_tokens_; }
  std::int32_t num_rows() const { return num_rows_; }
  std::int32_t num_logits() const { return num_logits_; }
  std::int32_t* token_ids() { return token_ids_.data(); }            // [T]
  std::int32_t* positions() { return positions_.data(); }            // [T]
  std::int32_t* slot_mapping() { return slot_mapping_.data(); }      // [T]
  std::int32_t* query_indptr() { return query_indptr_.data(); }      // [R + 1]
  std::int32_t* context_lens() { return context_lens_.data(); }      // [R]
  std::int32_t* block_tables() { return block_tables_.data(); }      // [R, M]
  std::int32_t* logits_indices() { return logits_indices_.data(); }  // [L]

 private:
  // Which part of which sequence's block table stands at a place of block_tables already.
  struct Place {
    std::uint64_t start_serial = 0;
    std::int32_t num_blocks = 0;
  };

  void check(const Step& step);
  void check_row(const Step& step, std::size_t i);
  void require_first_mention(std::int32_t row);
  void place_blocks(std::int32_t row, std::int32_t place);
  void write_tokens(std::int32_t row, std::int32_t first_position, std::int32_t count);
  void write_logits_indices(std::int32_t count);

  BatchLimits limits_;
  RowStore rows_;
  std::vector<Place> places_;                // [max_num_seqs]
  std::vector<std::uint64_t> last_checked_;  // [max_num_seqs] the check that saw the row last
  std::uint64_t num_checks_ = 0;

  ZeroedArray token_ids_, positions_, slot_mapping_, query_indptr_, context_lens_, block_tables_, logits_indices_;
  std::int32_t num_tokens_ = 0;
  std::int32_t num_rows_ = 0;
  std::int32_t num_logits_ = 0;
};

}  // namespace octavo::batch
