#include "ops/attention/kv_read_ahead.h"

#include <algorithm>

namespace octavo {

KVReadAhead::KVReadAhead(const KVCache& cache, std::optional<int> window)
    : cache_(cache), window_(window), chunk_bytes_(cache.num_kv_heads() * cache.layout().num_bytes) {
  pages_.reserve(static_cast<std::size_t>(cpu::last_level_cache_bytes() / 2 / chunk_bytes_));
}

void KVReadAhead::list(Span<const std::int32_t> query_indptr, Span<const std::int32_t> context_lens,
                       Matrix<const std::int32_t> block_tables) {
  pages_.clear();
  const std::int64_t pages_per_block = cache_.block_size() / kPageTokens;
  for (std::int64_t request = 0; request < context_lens.size; ++request) {
    const std::int64_t first_query = context_lens[request] - (query_indptr[request + 1] - query_indptr[request]);
    const std::int64_t first_seen = window_ ? std::max<std::int64_t>(0, first_query - *window_ + 1) : 0;
    const std::int64_t num_pages =
        std::min<std::int64_t>((context_lens[request] + kPageTokens - 1) / kPageTokens, block_tables.cols * pages_per_block);
    for (std::int64_t index = first_seen / kPageTokens; index < num_pages; ++index) {
      if (pages_.size() == pages_.capacity()) return;
      const std::int64_t place = index / pages_per_block;
      const std::int32_t block = block_tables.row(request)[place];
      if (request > 0 && index * kPageTokens < context_lens[request - 1] && block_tables.row(request - 1)[place] == block) continue;
      pages_.push_back(static_cast<std::int32_t>(block * pages_per_block + index % pages_per_block));
    }
  }
}

cpu::ReadAhead KVReadAhead::of_layer(int layer) const {
  const std::int64_t num_chunks = static_cast<std::int64_t>(pages_.size());
  return {cache_.page(layer, 0, 0), cache_.num_layers() * chunk_bytes_, pages_.data(), chunk_bytes_, 0, num_chunks * chunk_bytes_};
}

}  // namespace octavo
