// The persistent batch: turns a step's diffs into the flat arrays that the model reads.
//
// Rows that keep their place in the batch from one step to the next have only their new blocks copied, so a decode step costs O(rows),
// not O(blocks). Used by one thread (the runner's). Letters: T tokens, R rows, L logits rows, G cache groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "batch/row_store.h"
#include "batch/step_arrays.h"

namespace octavo::batch {

// One entry per scheduled row, in batch order; meanings as in StepPlan.
struct Step {
  // The new blocks of one cache group, of all rows, one after another.
  struct NewBlocks {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> indptr{0};  // [R + 1]

    const std::int32_t* of(std::size_t i) const { return ids.data() + indptr[i]; }
    std::int32_t count(std::size_t i) const { return indptr[i + 1] - indptr[i]; }
  };

  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> num_scheduled_tokens;
  std::vector<std::int32_t> num_logits;
  std::vector<NewBlocks> new_blocks;  // [G]
};

class Batch {
 public:
  // Throws std::invalid_argument unless every limit is at least 1.
  explicit Batch(const BatchLimits& limits);

  void start_row(const RowStart& start, const std::vector<std::int32_t>& token_ids) { rows_.start(start, token_ids); }
  void fork_row(std::int32_t row, std::int32_t source, std::int32_t num_tokens, std::int32_t token_id) {
    rows_.fork(row, source, num_tokens, token_id);
  }
  void end_row(std::int32_t row) { rows_.end(row); }
  // A launched step draws the next token of each row: later steps may compute it before its value is known.
  void expect_tokens(const std::vector<std::int32_t>& rows);
  // Appends one token to each row; all or, where it throws, none.
  void append_tokens(const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& token_ids);
  // Writes a step's arrays and counts its tokens as computed. A token that is drawn but not known yet is written as ~row. Where it throws
  // std::invalid_argument, rows and arrays are as they were.
  void prepare(const Step& step, StepArrays& arrays);
  void prepare(const Step& step) { prepare(step, arrays_); }

  const BatchLimits& limits() const { return limits_; }
  const RowStore& rows() const { return rows_; }

  // What prepare() without a destination wrote.
  StepArrays& arrays() { return arrays_; }
  std::int32_t max_blocks_per_row() const { return limits_.max_blocks_per_row(); }
  std::int32_t num_tokens() const { return arrays_.num_tokens(); }
  std::int32_t num_rows() const { return arrays_.num_rows(); }
  std::int32_t num_logits() const { return arrays_.num_logits(); }
  std::int32_t* token_ids() { return arrays_.token_ids(); }
  std::int32_t* positions() { return arrays_.positions(); }
  std::int32_t* slot_mapping(std::int32_t group = 0) { return arrays_.slot_mapping(group); }
  std::int32_t* query_indptr() { return arrays_.query_indptr(); }
  std::int32_t* context_lens() { return arrays_.context_lens(); }
  std::int32_t* block_tables(std::int32_t group = 0) { return arrays_.block_tables(group); }
  std::int32_t* logits_indices() { return arrays_.logits_indices(); }
  const std::int32_t* row_ids() const { return arrays_.row_ids(); }

 private:
  void check(const Step& step);
  void check_row(const Step& step, std::size_t i);
  void require_first_mention(std::int32_t row);

  BatchLimits limits_;
  RowStore rows_;
  StepArrays arrays_;
  std::vector<std::uint64_t> last_checked_;  // [max_num_seqs] the check that saw the row last
  std::uint64_t num_checks_ = 0;
};

}  // namespace octavo::batch
