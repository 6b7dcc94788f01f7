// The pages that the attention of a step will read, for the ops before it to fetch on the side (cpu/read_ahead.h).
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "base/tensor_view.h"
#include "cpu/read_ahead.h"
#include "ops/attention/kv_cache.h"

namespace octavo {

// For layers of one window. As many pages as half of the last-level cache holds of a layer: beyond, they would push each other out.
class KVReadAhead {
 public:
  KVReadAhead(const KVCache& cache, std::optional<int> window);

  std::optional<int> window() const { return window_; }
  // Lists a step's pages in the order in which attention reads them, those that several requests share once. Arrays as of PagedAttention.
  void list(Span<const std::int32_t> query_indptr, Span<const std::int32_t> context_lens, Matrix<const std::int32_t> block_tables);
  // Valid until the next list().
  cpu::ReadAhead of_layer(int layer) const;

 private:
  const KVCache& cache_;
  std::optional<int> window_;
  std::int64_t chunk_bytes_;
  std::vector<std::int32_t> pages_;  // its capacity is the limit
};

}  // namespace octavo
