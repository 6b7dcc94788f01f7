// What the runner remembers of each running sequence, one row each: its tokens, how many of them are computed, its block tables.
//
// Rows live in flat arrays: [max_num_seqs, max_model_len + 1] tokens and, for each cache group, [max_num_seqs, M] block ids. The token
// past max_model_len is the one drawn from the last position of the context: it is reported, never computed.
// Every member throws std::invalid_argument naming the row on misuse, before it changes anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "batch/zeroed_array.h"

namespace octavo::batch {

struct BatchLimits {
  std::int32_t max_num_seqs;
  std::int32_t max_num_tokens;  // of one step
  std::int32_t max_num_logits;  // of one step
  std::int32_t max_model_len;   // tokens
  std::int32_t block_size;      // tokens
  std::int32_t num_groups = 1;  // of caches, each with a block table for every row

  std::int32_t max_blocks_per_row() const { return (max_model_len - 1) / block_size + 1; }
};

struct Row {
  bool running = false;
  std::uint64_t start_serial = 0;  // counts the starts of all rows: tells a row's sequences apart
  std::int32_t num_tokens = 0;     // whose values are known
  std::int32_t num_expected = 0;   // tokens after them, drawn by launched steps, whose values have not come back
  std::int32_t num_prompt_tokens = 0;
  std::int32_t num_computed = 0;  // by prepared steps
};

// How a row begins.
struct RowStart {
  std::int32_t row = 0;
  std::int32_t num_prompt_tokens = 0;
  std::int32_t num_computed = 0;             // in the cache already
  std::vector<std::int32_t> first_blocks{};  // of each group: blocks before this one lie behind the window; empty: 0 everywhere
};

class RowStore {
 public:
  explicit RowStore(const BatchLimits& limits);

  void start(const RowStart& start, const std::vector<std::int32_t>& token_ids);
  // Fills `row` with the first num_tokens tokens of a running row, all of them computed, with its full blocks of them, and token_id.
  // A row that is forked onto itself goes back to these tokens and keeps its blocks.
  void fork(std::int32_t row, std::int32_t source, std::int32_t num_tokens, std::int32_t token_id);
  void end(std::int32_t row);
  // A launched step draws the row's next token; append_token brings its value.
  void expect_token(std::int32_t row);
  void append_token(std::int32_t row, std::int32_t token_id);
  void append_blocks(std::int32_t group, std::int32_t row, const std::int32_t* block_ids, std::int32_t count);
  void advance(std::int32_t row, std::int32_t count) { rows_[row].num_computed += count; }

  // A running row.
  const Row& at(std::int32_t row) const;
  std::int32_t num_blocks(std::int32_t group, std::int32_t row) const { return num_blocks_[index(group, row)]; }
  const std::int32_t* token_ids(std::int32_t row) const { return token_ids_.data() + row * token_stride_; }
  const std::int32_t* block_ids(std::int32_t group, std::int32_t row) const {
    return block_ids_.data() + index(group, row) * block_stride_;
  }

  // Throws unless `append_token` and `append_blocks` would succeed.
  void check_token_room(std::int32_t row) const;
  void check_blocks(std::int32_t group, std::int32_t row, const std::int32_t* block_ids, std::int32_t count) const;

 private:
  std::size_t index(std::int32_t group, std::int32_t row) const { return group * rows_.size() + static_cast<std::size_t>(row); }
  void check_row(std::int32_t row) const;
  void check_free(std::int32_t row) const;

  BatchLimits limits_;
  std::int32_t max_block_id_;  // the greatest whose slots fit in int32
  std::size_t token_stride_;
  std::size_t block_stride_;
  std::vector<Row> rows_;
  std::vector<std::int32_t> num_blocks_;  // [num_groups, max_num_seqs]
  ZeroedArray token_ids_;
  ZeroedArray block_ids_;
  std::uint64_t num_starts_ = 0;
};

}  // namespace octavo::batch
