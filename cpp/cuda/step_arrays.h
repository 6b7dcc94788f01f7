// The arrays of a step: prepared in a pinned slot, copied to one place on the device in two copies.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/api.h"
#include "cuda/lowering.h"
#include "cuda/memory.h"

namespace octavo::cuda {

// Rows that a step of `rows` is padded to, so that few sizes occur: every one has its graph, its algorithms and its plans.
std::int64_t padded_rows(std::int64_t rows);

// Where each array lies, in int32 elements from the start; block tables come last.
struct StepLayout {
  explicit StepLayout(const ProgramLimits& limits);

  std::int64_t max_tokens, max_rows, max_logits, max_blocks;  // tokens and logits padded
  std::int64_t token_ids, positions, slot_mapping, token_rows, query_indptr, context_lens, logits_indices, block_tables;
  std::int64_t num_elements;
};

// A step's sizes, its padding included.
struct StepSizes {
  std::int64_t num_rows = 0;
  std::int64_t num_tokens = 0, num_logits = 0;        // real
  std::int64_t padded_tokens = 0, padded_logits = 0;  // computed
  std::int64_t used_blocks = 0;                       // columns of block_tables that are read
  int max_query_len = 0, max_context_len = 0;
  bool decode = false;  // every sequence has one token, whose logits are wanted
};

// Throws std::invalid_argument where the step does not fit the layout or its arrays disagree.
StepSizes sizes_of(const StepInput& step, const StepLayout& layout);

// Writes the step and its padding into a slot. Padding tokens have slot -1 and sequence -1: nothing is stored or attended for them.
void write_step(const StepInput& step, const StepSizes& sizes, const StepLayout& layout, std::int32_t* slot);

// What launches read, once `from` (a slot of the same layout) is copied to `base`.
StepPointers pointers(const StepLayout& layout, const std::int32_t* base);

}  // namespace octavo::cuda
