#include "batch/row_store.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace octavo::batch {

RowStore::RowStore(const BatchLimits& limits)
    : max_model_len_(limits.max_model_len),
      max_block_id_(std::numeric_limits<std::int32_t>::max() / limits.block_size - 1),
      token_stride_(static_cast<std::size_t>(limits.max_model_len) + 1),
      block_stride_(static_cast<std::size_t>(limits.max_blocks_per_row())),
      rows_(static_cast<std::size_t>(limits.max_num_seqs)),
      token_ids_(rows_.size() * token_stride_),
      block_ids_(rows_.size() * block_stride_) {}

void RowStore::start(std::int32_t row, const std::vector<std::int32_t>& token_ids, std::int32_t num_prompt_tokens) {
  check_row(row);
  require(!rows_[row].running, "row ", row, ": runs already; end it before it is started again");
  require(token_ids.size() < token_stride_, "row ", row, ": starts with ", token_ids.size(), " tokens, but max_model_len is ",
          max_model_len_);
  const auto num_tokens = static_cast<std::int32_t>(token_ids.size());
  require(num_prompt_tokens >= 0 && num_prompt_tokens <= num_tokens, "row ", row, ": num_prompt_tokens is ", num_prompt_tokens, " of ",
          num_tokens, " tokens");
  std::copy(token_ids.begin(), token_ids.end(), token_ids_.data() + row * token_stride_);
  rows_[row] = {true, ++num_starts_, num_tokens, num_prompt_tokens, 0};
}

void RowStore::end(std::int32_t row) {
  at(row);
  rows_[row].running = false;
}

void RowStore::append_token(std::int32_t row, std::int32_t token_id) {
  check_token_room(row);
  token_ids_.data()[row * token_stride_ + rows_[row].num_tokens++] = token_id;
}

void RowStore::append_blocks(std::int32_t row, const std::int32_t* block_ids, std::int32_t count) {
  check_blocks(row, block_ids, count);
  std::copy_n(block_ids, count, block_ids_.data() + row * block_stride_ + rows_[row].num_blocks);
  rows_[row].num_blocks += count;
}

const Row& RowStore::at(std::int32_t row) const {
  check_row(row);
  require(rows_[row].running, "row ", row, ": does not run; start it first");
  return rows_[row];
}

void RowStore::check_token_room(std::int32_t row) const {
  require(at(row).num_tokens <= max_model_len_, "row ", row, ": is full: it has max_model_len = ", max_model_len_,
          " tokens and one drawn after them");
}

void RowStore::check_blocks(std::int32_t row, const std::int32_t* block_ids, std::int32_t count) const {
  const Row& state = at(row);
  const auto max_num_blocks = static_cast<std::int32_t>(block_stride_);
  require(count <= max_num_blocks - state.num_blocks, "row ", row, ": ", count, " new blocks after ", state.num_blocks,
          ", but max_model_len needs only ", max_num_blocks);
  for (std::int32_t i = 0; i < count; ++i) {
    require(block_ids[i] >= 0 && block_ids[i] <= max_block_id_, "row ", row, ": new block id ", block_ids[i], " is not within 0..",
            max_block_id_);
  }
}

void RowStore::check_row(std::int32_t row) const {
  const auto num_rows = static_cast<std::int32_t>(rows_.size());
  require(row >= 0 && row < num_rows, "row ", row, ": is not within 0..", num_rows - 1, " (max_num_seqs - 1)");
}

}  // namespace octavo::batch
