#include "batch/batch.h"

#include <numeric>

#include "base/error.h"

namespace octavo::batch {

namespace {

const BatchLimits& checked(const BatchLimits& limits) {
  const auto at_least_one = [](const char* name, std::int32_t value) {
    require(value >= 1, name, " is ", value, "; it must be at least 1");
  };
  at_least_one("max_num_seqs", limits.max_num_seqs);
  at_least_one("max_num_tokens", limits.max_num_tokens);
  at_least_one("max_num_logits", limits.max_num_logits);
  at_least_one("max_model_len", limits.max_model_len);
  at_least_one("block_size", limits.block_size);
  require(limits.num_groups >= 0, "num_groups is ", limits.num_groups, "; it must not be negative");  // none: nothing is cached
  return limits;
}

void require_length(const char* name, std::size_t length, std::size_t num_rows) {
  require(length == num_rows, name, " has ", length, " entries for ", num_rows, " rows");
}

void require_at_most(const char* name, std::int64_t count, const char* limit_name, std::int32_t limit) {
  require(count <= limit, "the step has ", count, " ", name, ", but ", limit_name, " is ", limit);
}

std::int64_t sum(const std::vector<std::int32_t>& values) { return std::accumulate(values.begin(), values.end(), std::int64_t{0}); }

}  // namespace

Batch::Batch(const BatchLimits& limits)
    : limits_(checked(limits)), rows_(limits), arrays_(limits), last_checked_(static_cast<std::size_t>(limits.max_num_seqs)) {}

void Batch::expect_tokens(const std::vector<std::int32_t>& rows) {
  ++num_checks_;
  for (const std::int32_t row : rows) {
    rows_.check_token_room(row);
    require_first_mention(row);
  }
  for (const std::int32_t row : rows) rows_.expect_token(row);
}

void Batch::append_tokens(const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& token_ids) {
  require_length("token_ids", token_ids.size(), rows.size());
  ++num_checks_;
  for (const std::int32_t row : rows) {
    if (rows_.at(row).num_expected == 0) rows_.check_token_room(row);
    require_first_mention(row);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) rows_.append_token(rows[i], token_ids[i]);
}

void Batch::prepare(const Step& step, StepArrays& arrays) {
  check(step);
  arrays.clear();
  for (std::size_t i = 0; i < step.rows.size(); ++i) {
    const std::int32_t row = step.rows[i];
    for (std::int32_t group = 0; group < limits_.num_groups; ++group) {
      const Step::NewBlocks& blocks = step.new_blocks[group];
      rows_.append_blocks(group, row, blocks.of(i), blocks.count(i));
    }
    arrays.add_row(rows_, row, step.num_scheduled_tokens[i], step.num_logits[i]);
    rows_.advance(row, step.num_scheduled_tokens[i]);
  }
}

void Batch::check(const Step& step) {
  const std::size_t num_rows = step.rows.size();
  require_length("num_scheduled_tokens", step.num_scheduled_tokens.size(), num_rows);
  require_length("num_logits", step.num_logits.size(), num_rows);
  require(static_cast<std::int32_t>(step.new_blocks.size()) == limits_.num_groups, "new_block_ids has ", step.new_blocks.size(),
          " entries for ", limits_.num_groups, " cache groups");
  for (const Step::NewBlocks& blocks : step.new_blocks) require_length("new_block_ids", blocks.indptr.size() - 1, num_rows);
  ++num_checks_;
  for (std::size_t i = 0; i < num_rows; ++i) check_row(step, i);
  require_at_most("tokens", sum(step.num_scheduled_tokens), "max_num_tokens", limits_.max_num_tokens);
  require_at_most("logits rows", sum(step.num_logits), "max_num_logits", limits_.max_num_logits);
}

void Batch::check_row(const Step& step, std::size_t i) {
  const std::int32_t row = step.rows[i];
  const Row& state = rows_.at(row);
  require_first_mention(row);
  const std::int32_t scheduled = step.num_scheduled_tokens[i];
  const std::int32_t logits = step.num_logits[i];
  require(scheduled >= 1, "row ", row, ": num_scheduled_tokens is ", scheduled, "; a scheduled row computes at least one token");
  require(logits >= 0 && logits <= scheduled, "row ", row, ": num_logits is ", logits, " of ", scheduled, " scheduled tokens");
  const std::int64_t needed = std::int64_t{state.num_computed} + scheduled;
  const std::int64_t num_tokens = std::int64_t{state.num_tokens} + state.num_expected;
  require(needed <= num_tokens, "row ", row, ": the step needs ", needed, " tokens, but the row has ", num_tokens);
  // ~row stands for the row's last drawn token, so of unknown tokens a step can compute that one only.
  require(needed <= state.num_tokens || (needed == num_tokens && state.num_computed >= num_tokens - 1) ||
              (needed == num_tokens && state.num_expected == 1),
          "row ", row, ": the step needs a token that is neither known nor the last one drawn");
  for (std::int32_t group = 0; group < limits_.num_groups; ++group) {
    const Step::NewBlocks& blocks = step.new_blocks[group];
    rows_.check_blocks(group, row, blocks.of(i), blocks.count(i));
    const std::int64_t capacity = (std::int64_t{rows_.num_blocks(group, row)} + blocks.count(i)) * limits_.block_size;
    require(needed <= capacity, "row ", row, ": the step needs ", needed, " tokens, but the row's blocks hold ", capacity);
  }
}

void Batch::require_first_mention(std::int32_t row) {
  require(last_checked_[row] != num_checks_, "row ", row, ": is named twice in one step");
  last_checked_[row] = num_checks_;
}

}  // namespace octavo::batch
