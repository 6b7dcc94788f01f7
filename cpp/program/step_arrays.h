// The arrays of one step, as a batch prepares them. T tokens, R sequences, L logits rows, M blocks of the longest sequence.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"

namespace octavo::program {

// Where one group of caches (Graph::cache_groups) keeps the step's tokens.
struct CacheArrays {
  Span<const std::int32_t> slot_mapping;    // [T]
  Matrix<const std::int32_t> block_tables;  // [R, M]
};

struct StepArrays {
  Span<const std::int32_t> token_ids;           // [T]
  Span<const std::int32_t> positions;           // [T]
  Span<const std::int32_t> query_indptr;        // [R + 1]
  Span<const std::int32_t> context_lens;        // [R]
  Span<const std::int32_t> logits_indices;      // [L]
  Span<const CacheArrays> caches;               // one for each group
  std::int64_t num_media = 0;                   // rows that a tower makes for a decoder to read
  Span<const std::int32_t> rows = {};           // [R]: which row of the states each sequence has; of graphs with states
  Span<const std::int32_t> window_indptr = {};  // [W + 1]: tokens of the windows into which sequences are cut; of towers that have some
};

}  // namespace octavo::program
