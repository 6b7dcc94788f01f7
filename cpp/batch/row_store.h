// What the runner remembers of each running sequence: its tokens and its block table, one row each.
//
// Rows live in two flat arrays, [max_num_seqs, max_model_len + 1] tokens and [max_num_seqs, M] block ids. The token past
// max_model_len is the one drawn from the last position of the context: it is reported, never computed.
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

  std::int32_t max_blocks_per_row() const { return (max_model_len - 1) / block_size + 1; }
};

struct Row {
  bool running = false;
  std::uint64_t start_serial = 0;  // counts the starts of all rows: tells a row's sequences apart
  std::int32_t num_tokens = 0;
  std::int32_t num_prompt_tokens = 0;
  std::int32_t num_blocks = 0;
};

class RowStore {
 public:
  explicit RowStore(const BatchLimits& limits);

  void start(std::int32_t row, const std::vector<std::int32_t>& token_ids, std::int32_t num_prompt_tokens);
  void end(std::int32_t row);
  void append_token(std::int32_t row, std::int32_t token_id);
  void append_blocks(std::int32_t row, const std::int32_t* block_ids, std::int32_t count);

  // A running row.
  const Row& at(std::int32_t row) const;
  const std::int32_t* token_ids(std::int32_t row) const { return token_ids_.data() + row * token_stride_; }
  const std::int32_t* block_ids(std::int32_t row) const { return block_ids_.data() + row * block_stride_; }

  // Throws unless `append_token` and `append_blocks` would succeed.
  void check_token_room(std::int32_t row) const;
  void check_blocks(std::int32_t row, const std::int32_t* block_ids, std::int32_t count) const;

 private:
  void check_row(std::int32_t row) const;

  std::int32_t max_model_len_;
  std::int32_t max_block_id_;  // the greatest whose slots fit in int32
  std::size_t token_stride_;
  std::size_t block_stride_;
  std::vector<Row> rows_;
  ZeroedArray token_ids_;
  ZeroedArray block_ids_;
  std::uint64_t num_starts_ = 0;
};

}  // namespace octavo::batch
