#include "ops/attention/kv_cache.h"

#include <cstring>

#include "cpu/huge_pages.h"
#include "cpu/split.h"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/kv_store_kernels.h"

namespace octavo {
KVCache::KVCache(int num_layers, int num_blocks, int block_size, int num_kv_heads, int head_dim, KVDtype dtype)
    : num_layers_(num_layers),
      block_size_(block_size),
      num_kv_heads_(num_kv_heads),
      num_blocks_(num_blocks),
      dtype_(dtype),
      layout_(head_dim, dtype) {
  require(num_layers >= 1 && num_blocks >= 1 && num_kv_heads >= 1, "KV cache: layers, blocks and heads must be at least 1, got ",
          num_layers, ", ", num_blocks, ", ", num_kv_heads);
  require(block_size >= kPageTokens && block_size % kPageTokens == 0, "KV cache: block_size is ", block_size,
          "; it must be a multiple of 16");
  require(head_dim >= 8 && head_dim <= kMaxHeadDim && head_dim % 8 == 0, "KV cache: head_dim is ", head_dim,
          "; it must be a multiple of 8, at most ", kMaxHeadDim);
  num_pages_ = num_blocks_ * (block_size / kPageTokens);
  pages_ = cpu::huge_page_memory(num_bytes());
  scratch_ = cpu::huge_page_memory(scratch_elements() * static_cast<std::int64_t>(sizeof(float)));
}

std::int64_t KVCache::bytes_per_block(int num_layers, int block_size, int num_kv_heads, int head_dim, KVDtype dtype) {
  return std::int64_t{num_layers} * (block_size / kPageTokens) * num_kv_heads * KVPageLayout(head_dim, dtype).num_bytes;
}

void KVCache::copy_block(std::int64_t source, std::int64_t destination) {
  for (const std::int64_t block : {source, destination}) {
    require(block >= 0 && block < num_blocks_, "KV cache: block ", block, " of ", num_blocks_);
  }
  const std::int64_t num_bytes = this->num_bytes() / num_blocks_;
  if (source != destination) std::memcpy(pages_.get() + destination * num_bytes, pages_.get() + source * num_bytes, num_bytes);
}

std::int64_t KVCache::scratch_elements() const { return kPartialSlots * partial_elements(layout_.value_stride); }

void store_kv(Matrix<const float> k, Matrix<const float> v, KVCache& cache, int layer, Span<const std::int32_t> slot_mapping,
              cpu::ThreadPool& pool) {
  require_same_shape("store_kv", k, v);
  const std::int64_t num_cols = std::int64_t{cache.num_kv_heads()} * cache.head_dim();
  require(k.cols == num_cols, "store_kv: k has ", k.cols, " columns, the cache holds ", num_cols);
  require(slot_mapping.size == k.rows, "store_kv: ", slot_mapping.size, " slots for ", k.rows, " tokens");
  require(layer >= 0 && layer < cache.num_layers(), "store_kv: layer ", layer, " of ", cache.num_layers());
  const std::int64_t num_slots = cache.num_blocks() * cache.block_size();
  for (std::int64_t token = 0; token < slot_mapping.size; ++token) {
    require(slot_mapping[token] >= 0 && slot_mapping[token] < num_slots, "store_kv: slot_mapping[", token, "] is ", slot_mapping[token],
            "; the cache has ", num_slots, " slots");
  }
  const auto store = kv_store_kernels(cpu::active_isa()).store[static_cast<int>(cache.dtype())];
  const KVPageLayout& layout = cache.layout();
  cpu::for_row_ranges(pool, k.rows, num_cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      const std::int64_t page = slot_mapping[token] / kPageTokens;
      const int offset = slot_mapping[token] % kPageTokens;
      for (int head = 0; head < cache.num_kv_heads(); ++head) {
        const std::int64_t column = std::int64_t{head} * layout.head_dim;
        store(k.row(token) + column, v.row(token) + column, layout, offset, cache.page(layer, page, head));
      }
    }
  });
}

}  // namespace octavo
