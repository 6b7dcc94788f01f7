#include "cuda/step_arrays.h"

#include <algorithm>
#include <cstring>

namespace octavo::cuda {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

void copy(const Span<const std::int32_t>& from, std::int64_t padded, std::int32_t padding, std::int32_t* to) {
  std::copy_n(from.data, from.size, to);
  std::fill(to + from.size, to + padded, padding);
}

}  // namespace

std::int64_t padded_rows(std::int64_t rows) {
  if (rows <= 4) return rows;
  if (rows <= 16) return round_up(rows, 2);
  if (rows <= 64) return round_up(rows, 8);
  if (rows <= 256) return round_up(rows, 16);
  return round_up(rows, rows <= 1024 ? 32 : 64);
}

StepLayout::StepLayout(const ProgramLimits& limits)
    : max_tokens(padded_rows(std::max(limits.max_num_tokens, limits.max_num_seqs))),
      max_rows(limits.max_num_seqs),
      max_logits(padded_rows(limits.max_num_logits)),
      max_blocks((limits.max_model_len - 1) / limits.block_size + 1) {
  constexpr std::int64_t kAlignment = 32;
  std::int64_t end = 0;
  const auto place = [&](std::int64_t count) {
    const std::int64_t at = end;
    end = round_up(end + count, kAlignment);
    return at;
  };
  token_ids = place(max_tokens);
  positions = place(max_tokens);
  slot_mapping = place(max_tokens);
  token_rows = place(max_tokens);
  query_indptr = place(max_rows + 1);
  context_lens = place(max_rows);
  logits_indices = place(max_logits);
  block_tables = place(max_rows * max_blocks);
  num_elements = end;
}

StepSizes sizes_of(const StepInput& step, const StepLayout& layout) {
  StepSizes sizes;
  sizes.num_rows = step.context_lens.size;
  sizes.num_tokens = step.token_ids.size;
  sizes.num_logits = step.logits_indices.size;
  require(sizes.num_tokens >= 1 && sizes.num_tokens <= layout.max_tokens, "the step has ", sizes.num_tokens, " tokens, at most ",
          layout.max_tokens);
  require(sizes.num_rows >= 1 && sizes.num_rows <= layout.max_rows, "the step has ", sizes.num_rows, " sequences, at most ",
          layout.max_rows);
  require(sizes.num_logits <= layout.max_logits, "the step has ", sizes.num_logits, " logits rows, at most ", layout.max_logits);
  require(step.positions.size == sizes.num_tokens && step.slot_mapping.size == sizes.num_tokens, "positions and slot_mapping must have ",
          sizes.num_tokens, " entries");
  require(
      step.query_indptr.size == sizes.num_rows + 1 && step.query_indptr[0] == 0 && step.query_indptr[sizes.num_rows] == sizes.num_tokens,
      "query_indptr must ascend from 0 to ", sizes.num_tokens);
  require(step.block_tables.rows == sizes.num_rows && step.block_tables.cols <= layout.max_blocks, "block_tables must have ",
          sizes.num_rows, " rows of at most ", layout.max_blocks);
  for (std::int64_t row = 0; row < sizes.num_rows; ++row) {
    const int count = step.query_indptr[row + 1] - step.query_indptr[row];
    require(count >= 1, "sequence ", row, " has no tokens");
    sizes.max_query_len = std::max(sizes.max_query_len, count);
    sizes.max_context_len = std::max(sizes.max_context_len, step.context_lens[row]);
  }
  sizes.used_blocks = std::min<std::int64_t>(step.block_tables.cols, (sizes.max_context_len - 1) / kPageTokens + 1);
  sizes.decode = sizes.max_query_len == 1 && sizes.num_logits == sizes.num_tokens;
  sizes.padded_tokens = padded_rows(sizes.num_tokens);
  sizes.padded_logits = sizes.decode ? sizes.padded_tokens : padded_rows(sizes.num_logits);
  return sizes;
}

void write_step(const StepInput& step, const StepSizes& sizes, const StepLayout& layout, std::int32_t* slot) {
  copy(step.token_ids, sizes.padded_tokens, 0, slot + layout.token_ids);
  copy(step.positions, sizes.padded_tokens, 0, slot + layout.positions);
  copy(step.slot_mapping, sizes.padded_tokens, -1, slot + layout.slot_mapping);
  copy(step.query_indptr, step.query_indptr.size, 0, slot + layout.query_indptr);
  copy(step.context_lens, step.context_lens.size, 0, slot + layout.context_lens);
  copy(step.logits_indices, sizes.padded_logits, 0, slot + layout.logits_indices);
  std::int32_t* rows = slot + layout.token_rows;
  for (std::int64_t row = 0; row < sizes.num_rows; ++row) {
    std::fill(rows + step.query_indptr[row], rows + step.query_indptr[row + 1], static_cast<std::int32_t>(row));
  }
  std::fill(rows + sizes.num_tokens, rows + sizes.padded_tokens, -1);
  for (std::int64_t row = 0; row < sizes.num_rows; ++row) {
    std::copy_n(step.block_tables.row(row), sizes.used_blocks, slot + layout.block_tables + row * layout.max_blocks);
  }
}

StepPointers pointers(const StepLayout& layout, const std::int32_t* base) {
  StepPointers found;
  found.token_ids = base + layout.token_ids;
  found.logits_indices = base + layout.logits_indices;
  found.slot_mapping = base + layout.slot_mapping;
  found.attention = {base + layout.query_indptr, base + layout.context_lens, base + layout.block_tables, base + layout.positions,
                     base + layout.token_rows};
  return found;
}

}  // namespace octavo::cuda
