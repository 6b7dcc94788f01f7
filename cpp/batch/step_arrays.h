// The arrays of one step, in one run of memory: that of an executor's choice (a pinned slot that a device copies from), or their own.
//
//   token_ids [T]  positions [T]  query_indptr [R + 1]  context_lens [R]  logits_indices [L]
//   slot_mapping [T] of each cache group   block_tables [R, M] of each cache group
//
// Each array begins at a fixed offset, a multiple of 128 bytes; only the lengths change from step to step. Letters: T tokens, R rows,
// L logits rows, M blocks of the longest sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "batch/row_store.h"
#include "batch/zeroed_array.h"

namespace octavo::batch {

class StepArrays {
 public:
  // memory: num_ints(limits) ints that outlive the arrays, or null for memory of their own.
  explicit StepArrays(const BatchLimits& limits, std::int32_t* memory = nullptr);
  StepArrays(const StepArrays&) = delete;
  StepArrays& operator=(const StepArrays&) = delete;

  static std::size_t num_ints(const BatchLimits& limits);

  std::int32_t num_tokens() const { return num_tokens_; }
  std::int32_t num_rows() const { return num_rows_; }
  std::int32_t num_logits() const { return num_logits_; }
  std::int32_t num_groups() const { return limits_.num_groups; }
  std::int32_t max_blocks_per_row() const { return limits_.max_blocks_per_row(); }

  std::int32_t* data() { return memory_; }
  std::int32_t* token_ids() { return memory_; }                                                                              // [T]
  std::int32_t* positions() { return memory_ + offsets_.positions; }                                                         // [T]
  std::int32_t* query_indptr() { return memory_ + offsets_.query_indptr; }                                                   // [R + 1]
  std::int32_t* context_lens() { return memory_ + offsets_.context_lens; }                                                   // [R]
  std::int32_t* logits_indices() { return memory_ + offsets_.logits_indices; }                                               // [L]
  std::int32_t* slot_mapping(std::int32_t group = 0) { return memory_ + offsets_.slots + group * offsets_.slots_stride; }    // [T]
  std::int32_t* block_tables(std::int32_t group = 0) { return memory_ + offsets_.tables + group * offsets_.tables_stride; }  // [R, M]

  // [R]: which row of the batch each is; not part of that memory.
  const std::int32_t* row_ids() const { return row_ids_.data(); }

  // Filling, in batch order, by Batch::prepare.
  void clear() { num_rows_ = num_tokens_ = num_logits_ = 0; }
  // Adds `count` tokens of a row, `num_logits` of which have their logits computed, and what its block tables have gained.
  void add_row(const RowStore& rows, std::int32_t row, std::int32_t count, std::int32_t num_logits);

 private:
  struct Offsets {
    std::size_t positions, query_indptr, context_lens, logits_indices, slots, slots_stride, tables, tables_stride, end;
  };
  // Which part of which sequence's block tables stands at a place of block_tables already.
  struct Place {
    std::uint64_t start_serial = 0;
    std::vector<std::int32_t> num_blocks{};  // of each group
  };

  static Offsets offsets(const BatchLimits& limits);
  void place_blocks(const RowStore& rows, std::int32_t row);
  void write_tokens(const RowStore& rows, std::int32_t row, std::int32_t first_position, std::int32_t count);
  void write_slots(const std::int32_t* blocks, std::int32_t first_position, std::int32_t count, std::int32_t* slots) const;

  BatchLimits limits_;
  Offsets offsets_;
  ZeroedArray own_;
  std::int32_t* memory_;
  std::vector<Place> places_;          // [max_num_seqs]
  std::vector<std::int32_t> row_ids_;  // [max_num_seqs]
  std::int32_t num_tokens_ = 0;
  std::int32_t num_rows_ = 0;
  std::int32_t num_logits_ = 0;
};

}  // namespace octavo::batch
