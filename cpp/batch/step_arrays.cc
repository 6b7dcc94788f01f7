#include "batch/step_arrays.h"

#include <algorithm>
#include <numeric>

namespace octavo::batch {

StepArrays::Offsets StepArrays::offsets(const BatchLimits& limits) {
  const auto aligned = [](std::size_t ints) { return (ints + 31) / 32 * 32; };
  const std::size_t tokens = aligned(static_cast<std::size_t>(limits.max_num_tokens));
  const auto rows = static_cast<std::size_t>(limits.max_num_seqs);
  const auto groups = static_cast<std::size_t>(limits.num_groups);
  Offsets at{};
  at.positions = tokens;
  at.query_indptr = at.positions + tokens;
  at.context_lens = at.query_indptr + aligned(rows + 1);
  at.logits_indices = at.context_lens + aligned(rows);
  at.slots = at.logits_indices + aligned(static_cast<std::size_t>(limits.max_num_logits));
  at.slots_stride = tokens;
  at.tables = at.slots + groups * at.slots_stride;
  at.tables_stride = aligned(rows * static_cast<std::size_t>(limits.max_blocks_per_row()));
  at.end = at.tables + groups * at.tables_stride;
  return at;
}

std::size_t StepArrays::num_ints(const BatchLimits& limits) { return offsets(limits).end; }

StepArrays::StepArrays(const BatchLimits& limits, std::int32_t* memory)
    : limits_(limits),
      offsets_(offsets(limits)),
      own_(memory ? 0 : offsets_.end),
      memory_(memory ? memory : own_.data()),
      places_(static_cast<std::size_t>(limits.max_num_seqs)),
      row_ids_(places_.size()) {
  for (Place& place : places_) place.num_blocks.resize(static_cast<std::size_t>(limits.num_groups));
  query_indptr()[0] = 0;
}

void StepArrays::add_row(const RowStore& rows, std::int32_t row, std::int32_t count, std::int32_t num_logits) {
  const std::int32_t computed = rows.at(row).num_computed;
  place_blocks(rows, row);
  write_tokens(rows, row, computed, count);
  std::iota(logits_indices() + num_logits_, logits_indices() + num_logits_ + num_logits, num_tokens_ + count - num_logits);
  num_tokens_ += count;
  num_logits_ += num_logits;
  row_ids_[static_cast<std::size_t>(num_rows_)] = row;
  context_lens()[num_rows_] = computed + count;
  query_indptr()[++num_rows_] = num_tokens_;
}

void StepArrays::place_blocks(const RowStore& rows, std::int32_t row) {
  Place& known = places_[num_rows_];
  const std::uint64_t serial = rows.at(row).start_serial;
  if (known.start_serial != serial) std::fill(known.num_blocks.begin(), known.num_blocks.end(), 0);
  known.start_serial = serial;
  for (std::int32_t group = 0; group < limits_.num_groups; ++group) {
    const std::int32_t* blocks = rows.block_ids(group, row);
    std::int32_t* table = block_tables(group) + static_cast<std::size_t>(num_rows_) * limits_.max_blocks_per_row();
    const std::int32_t num_blocks = rows.num_blocks(group, row);
    std::copy(blocks + known.num_blocks[group], blocks + num_blocks, table + known.num_blocks[group]);
    known.num_blocks[group] = num_blocks;
  }
}

void StepArrays::write_tokens(const RowStore& rows, std::int32_t row, std::int32_t first_position, std::int32_t count) {
  const std::int32_t num_known = std::min(count, rows.at(row).num_tokens - first_position);
  std::copy_n(rows.token_ids(row) + first_position, num_known, token_ids() + num_tokens_);
  std::fill_n(token_ids() + num_tokens_ + num_known, count - num_known, ~row);
  std::iota(positions() + num_tokens_, positions() + num_tokens_ + count, first_position);
  for (std::int32_t group = 0; group < limits_.num_groups; ++group) {
    write_slots(rows.block_ids(group, row), first_position, count, slot_mapping(group) + num_tokens_);
  }
}

void StepArrays::write_slots(const std::int32_t* blocks, std::int32_t first_position, std::int32_t count, std::int32_t* slots) const {
  std::int32_t offset = first_position % limits_.block_size;
  for (std::int32_t block = first_position / limits_.block_size; count > 0; ++block, offset = 0) {
    const std::int32_t run = std::min(count, limits_.block_size - offset);
    std::iota(slots, slots + run, blocks[block] * limits_.block_size + offset);
    slots += run;
    count -= run;
  }
}

}  // namespace octavo::batch
