#include "batch/row_store.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace octavo::batch {

RowStore::RowStore(const BatchLimits& limits)
    : limits_(limits),
      max_block_id_(std::numeric_limits<std::int32_t>::max() / limits.block_size - 1),
      token_stride_(static_cast<std::size_t>(limits.max_model_len) + 1),
      block_stride_(static_cast<std::size_t>(limits.max_blocks_per_row())),
      rows_(static_cast<std::size_t>(limits.max_num_seqs)),
      num_blocks_(rows_.size() * static_cast<std::size_t>(limits.num_groups)),
      token_ids_(rows_.size() * token_stride_),
      block_ids_(num_blocks_.size() * block_stride_) {}

void RowStore::start(const RowStart& start, const std::vector<std::int32_t>& token_ids) {
  const std::int32_t row = start.row;
  check_free(row);
  require(token_ids.size() < token_stride_, "row ", row, ": starts with ", token_ids.size(), " tokens, but max_model_len is ",
          limits_.max_model_len);
  const auto num_tokens = static_cast<std::int32_t>(token_ids.size());
  require(start.num_prompt_tokens >= 0 && start.num_prompt_tokens <= num_tokens, "row ", row, ": num_prompt_tokens is ",
          start.num_prompt_tokens, " of ", num_tokens, " tokens");
  require(start.num_computed >= 0 && start.num_computed <= num_tokens, "row ", row, ": num_computed_tokens is ", start.num_computed, " of ",
          num_tokens, " tokens");
  const std::vector<std::int32_t>& first = start.first_blocks;
  require(first.empty() || static_cast<std::int32_t>(first.size()) == limits_.num_groups, "row ", row, ": first_blocks has ", first.size(),
          " entries for ", limits_.num_groups, " cache groups");
  for (const std::int32_t block : first) {
    require(block >= 0 && block <= start.num_computed / limits_.block_size, "row ", row, ": first_blocks has ", block, ", but ",
            start.num_computed, " tokens are computed");
  }
  std::copy(token_ids.begin(), token_ids.end(), token_ids_.data() + row * token_stride_);
  for (std::int32_t group = 0; group < limits_.num_groups; ++group) {
    const std::int32_t num_absent = first.empty() ? 0 : first[group];
    num_blocks_[index(group, row)] = num_absent;
    std::fill_n(block_ids_.data() + index(group, row) * block_stride_, num_absent, 0);
  }
  rows_[row] = {true, ++num_starts_, num_tokens, 0, start.num_prompt_tokens, start.num_computed};
}

void RowStore::fork(std::int32_t row, std::int32_t source, std::int32_t num_tokens, std::int32_t token_id) {
  const Row& from = at(source);
  if (row != source) check_free(row);
  require(num_tokens >= 1 && num_tokens <= std::min(from.num_tokens, from.num_computed), "row ", row, ": forks ", num_tokens,
          " tokens of row ", source, ", which has ", from.num_tokens, " and has computed ", from.num_computed);
  require(num_tokens <= limits_.max_model_len, "row ", row, ": a fork has no room for its token");
  if (row != source) {
    std::copy_n(token_ids(source), num_tokens, token_ids_.data() + row * token_stride_);
    const std::int32_t num_full = num_tokens / limits_.block_size;
    for (std::int32_t group = 0; group < limits_.num_groups; ++group) {
      std::copy_n(block_ids(group, source), num_full, block_ids_.data() + index(group, row) * block_stride_);
      num_blocks_[index(group, row)] = num_full;
    }
  }
  token_ids_.data()[row * token_stride_ + num_tokens] = token_id;
  const std::uint64_t serial = row == source ? from.start_serial : ++num_starts_;
  rows_[row] = {true, serial, num_tokens + 1, 0, std::min(from.num_prompt_tokens, num_tokens + 1), num_tokens};
}

void RowStore::end(std::int32_t row) {
  at(row);
  rows_[row].running = false;
}

void RowStore::expect_token(std::int32_t row) {
  check_token_room(row);
  ++rows_[row].num_expected;
}

void RowStore::append_token(std::int32_t row, std::int32_t token_id) {
  Row& state = rows_[row];
  if (state.num_expected > 0) {
    --state.num_expected;  // its room was checked when it was announced
  } else {
    check_token_room(row);
  }
  token_ids_.data()[row * token_stride_ + state.num_tokens++] = token_id;
}

void RowStore::append_blocks(std::int32_t group, std::int32_t row, const std::int32_t* block_ids, std::int32_t count) {
  check_blocks(group, row, block_ids, count);
  std::int32_t& num_blocks = num_blocks_[index(group, row)];
  std::copy_n(block_ids, count, block_ids_.data() + index(group, row) * block_stride_ + num_blocks);
  num_blocks += count;
}

const Row& RowStore::at(std::int32_t row) const {
  check_row(row);
  require(rows_[row].running, "row ", row, ": does not run; start it first");
  return rows_[row];
}

void RowStore::check_token_room(std::int32_t row) const {
  const Row& state = at(row);
  require(state.num_tokens + state.num_expected <= limits_.max_model_len, "row ", row,
          ": is full: it has max_model_len = ", limits_.max_model_len, " tokens and one drawn after them");
}

void RowStore::check_blocks(std::int32_t group, std::int32_t row, const std::int32_t* block_ids, std::int32_t count) const {
  at(row);
  const auto max_num_blocks = static_cast<std::int32_t>(block_stride_);
  const std::int32_t num_known = num_blocks(group, row);
  require(count <= max_num_blocks - num_known, "row ", row, ": ", count, " new blocks after ", num_known, ", but max_model_len needs only ",
          max_num_blocks);
  for (std::int32_t i = 0; i < count; ++i) {
    require(block_ids[i] >= 0 && block_ids[i] <= max_block_id_, "row ", row, ": new block id ", block_ids[i], " is not within 0..",
            max_block_id_);
  }
}

void RowStore::check_row(std::int32_t row) const {
  const auto num_rows = static_cast<std::int32_t>(rows_.size());
  require(row >= 0 && row < num_rows, "row ", row, ": is not within 0..", num_rows - 1, " (max_num_seqs - 1)");
}

void RowStore::check_free(std::int32_t row) const {
  check_row(row);
  require(!rows_[row].running, "row ", row, ": runs already; end it before it is started again");
}

}  // namespace octavo::batch
