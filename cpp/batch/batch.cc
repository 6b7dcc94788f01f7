#include "batch/batch.h"

#include <algorithm>
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
    : limits_(checked(limits)),
      rows_(limits),
      places_(static_cast<std::size_t>(limits.max_num_seqs)),
      last_checked_(places_.size()),
      token_ids_(static_cast<std::size_t>(limits.max_num_tokens)),
      positions_(static_cast<std::size_t>(limits.max_num_tokens)),
      slot_mapping_(static_cast<std::size_t>(limits.max_num_tokens)),
      query_indptr_(places_.size() + 1),
      context_lens_(places_.size()),
      block_tables_(places_.size() * static_cast<std::size_t>(limits.max_blocks_per_row())),
      logits_indices_(static_cast<std::size_t>(limits.max_num_logits)) {}

void Batch::start_row(std::int32_t row, const std::vector<std::int32_t>& token_ids, std::int32_t num_prompt_tokens) {
  rows_.start(row, token_ids, num_prompt_tokens);
}

void Batch::append_tokens(const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& token_ids) {
  require_length("token_ids", token_ids.size(), rows.size());
  ++num_checks_;
  for (const std::int32_t row : rows) {
    rows_.check_token_room(row);
    require_first_mention(row);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) rows_.append_token(rows[i], token_ids[i]);
}

void Batch::prepare(const Step& step) {
  check(step);
  num_rows_ = num_tokens_ = num_logits_ = 0;
  for (std::size_t i = 0; i < step.rows.size(); ++i) {
    const std::int32_t row = step.rows[i];
    rows_.append_blocks(row, step.new_blocks(i), step.num_new_blocks(i));
    place_blocks(row, num_rows_);
    write_tokens(row, step.num_computed_tokens[i], step.num_scheduled_tokens[i]);
    write_logits_indices(step.num_logits[i]);
    context_lens_.data()[num_rows_] = step.num_computed_tokens[i] + step.num_scheduled_tokens[i];
    query_indptr_.data()[++num_rows_] = num_tokens_;
  }
}

void Batch::check(const Step& step) {
  const std::size_t num_rows = step.rows.size();
  require_length("num_computed_tokens", step.num_computed_tokens.size(), num_rows);
  require_length("num_scheduled_tokens", step.num_scheduled_tokens.size(), num_rows);
  require_length("new_block_ids", step.new_block_indptr.size() - 1, num_rows);
  require_length("num_logits", step.num_logits.size(), num_rows);
  ++num_checks_;
  for (std::size_t i = 0; i < num_rows; ++i) check_row(step, i);
  require_at_most("tokens", sum(step.num_scheduled_tokens), "max_num_tokens", limits_.max_num_tokens);
  require_at_most("logits rows", sum(step.num_logits), "max_num_logits", limits_.max_num_logits);
}

void Batch::check_row(const Step& step, std::size_t i) {
  const std::int32_t row = step.rows[i];
  const Row& state = rows_.at(row);
  require_first_mention(row);
  const std::int32_t computed = step.num_computed_tokens[i];
  const std::int32_t scheduled = step.num_scheduled_tokens[i];
  const std::int32_t logits = step.num_logits[i];
  require(computed >= 0, "row ", row, ": num_computed_tokens is ", computed, "; it must not be negative");
  require(scheduled >= 1, "row ", row, ": num_scheduled_tokens is ", scheduled, "; a scheduled row computes at least one token");
  require(logits >= 0 && logits <= scheduled, "row ", row, ": num_logits is ", logits, " of ", scheduled, " scheduled tokens");
  const std::int64_t needed = std::int64_t{computed} + scheduled;
  require(needed <= state.num_tokens, "row ", row, ": the step needs ", needed, " tokens, but the row has ", state.num_tokens);
  rows_.check_blocks(row, step.new_blocks(i), step.num_new_blocks(i));
  const std::int64_t capacity = (std::int64_t{state.num_blocks} + step.num_new_blocks(i)) * limits_.block_size;
  require(needed <= capacity, "row ", row, ": the step needs ", needed, " tokens, but the row's blocks hold ", capacity);
}

void Batch::require_first_mention(std::int32_t row) {
  require(last_checked_[row] != num_checks_, "row ", row, ": is named twice in one step");
  last_checked_[row] = num_checks_;
}

void Batch::place_blocks(std::int32_t row, std::int32_t place) {
  const Row& state = rows_.at(row);
  Place& known = places_[place];
  if (known.start_serial != state.start_serial) known = {state.start_serial, 0};
  const std::int32_t* blocks = rows_.block_ids(row);
  std::int32_t* table = block_tables_.data() + static_cast<std::size_t>(place) * limits_.max_blocks_per_row();
  std::copy(blocks + known.num_blocks, blocks + state.num_blocks, table + known.num_blocks);
  known.num_blocks = state.num_blocks;
}

void Batch::write_tokens(std::int32_t row, std::int32_t first_position, std::int32_t count) {
  std::copy_n(rows_.token_ids(row) + first_position, count, token_ids_.data() + num_tokens_);
  std::iota(positions_.data() + num_tokens_, positions_.data() + num_tokens_ + count, first_position);
  const std::int32_t* blocks = rows_.block_ids(row);
  std::int32_t* slots = slot_mapping_.data() + num_tokens_;
  std::int32_t offset = first_position % limits_.block_size;
  for (std::int32_t block = first_position / limits_.block_size; count > 0; ++block, offset = 0) {
    const std::int32_t run = std::min(count, limits_.block_size - offset);
    std::iota(slots, slots + run, blocks[block] * limits_.block_size + offset);
    slots += run;
    num_tokens_ += run;
    count -= run;
  }
}

void Batch::write_logits_indices(std::int32_t count) {
  std::iota(logits_indices_.data() + num_logits_, logits_indices_.data() + num_logits_ + count, num_tokens_ - count);
  num_logits_ += count;
}

}  // namespace octavo::batch
