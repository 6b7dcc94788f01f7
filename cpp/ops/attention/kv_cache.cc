#include "ops/attention/kv_cache.h"

#include <cstring>

#include "cpu/huge_pages.h"
#include "cpu/split.h"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/kv_store_kernels.h"

namespace octavo {
KVCache::KVCache(int num_layers, int num_blocks, int block_size, int num_kv_heads, int head_dim, KVDtype dtype, int latent_dim)
    : num_layers_(num_layers),
      block_size_(block_size),
      num_kv_heads_(num_kv_heads),
      num_blocks_(num_blocks),
      dtype_(dtype),
      layout_(head_dim, dtype, latent_dim) {
  require(num_layers >= 1 && num_blocks >= 1 && num_kv_heads >= 1, "KV cache: layers, blocks and heads must be at least 1, got ",
          num_layers, ", ", num_blocks, ", ", num_kv_heads);
  require(block_size >= kPageTokens && block_size % kPageTokens == 0, "KV cache: block_size is ", block_size,
          "; it must be a multiple of 16");
  const int most = latent_dim > 0 ? kMaxLatentDim : kMaxHeadDim;
  require(head_dim >= 8 && head_dim <= most && head_dim % 8 == 0, "KV cache: head_dim is ", head_dim,
          "; it must be a multiple of 8, at most ", most);
  require(latent_dim == 0 || (latent_dim > 0 && latent_dim < head_dim && latent_dim % 8 == 0 && num_kv_heads == 1),
          "KV cache: a latent of ", latent_dim, " elements in vectors of ", head_dim, " of ", num_kv_heads, " heads");
  num_pages_ = num_blocks_ * (block_size / kPageTokens);
  pages_ = cpu::huge_page_memory(num_bytes());
  scratch_ = cpu::huge_page_memory(scratch_elements() * static_cast<std::int64_t>(sizeof(float)));
}

std::int64_t KVCache::bytes_per_block(int num_layers, int block_size, int num_kv_heads, int head_dim, KVDtype dtype, int latent_dim) {
  return std::int64_t{num_layers} * (block_size / kPageTokens) * num_kv_heads * KVPageLayout(head_dim, dtype, latent_dim).num_bytes;
}

void KVCache::copy_block(std::int64_t source, std::int64_t destination) {
  for (const std::int64_t block : {source, destination}) {
    require(block >= 0 && block < num_blocks_, "KV cache: block ", block, " of ", num_blocks_);
  }
  const std::int64_t num_bytes = this->num_bytes() / num_blocks_;
  if (source != destination) std::memcpy(pages_.get() + destination * num_bytes, pages_.get() + source * num_bytes, num_bytes);
}

std::int64_t KVCache::scratch_elements() const { return kPartialSlots * partial_elements(layout_.value_cols); }

namespace {

void check_store(const char* op, const KVCache& cache, int layer, Span<const std::int32_t> slot_mapping, std::int64_t num_tokens) {
  require(slot_mapping.size == num_tokens, op, ": ", slot_mapping.size, " slots for ", num_tokens, " tokens");
  require(layer >= 0 && layer < cache.num_layers(), op, ": layer ", layer, " of ", cache.num_layers());
  const std::int64_t num_slots = cache.num_blocks() * cache.block_size();
  for (std::int64_t token = 0; token < slot_mapping.size; ++token) {
    require(slot_mapping[token] >= 0 && slot_mapping[token] < num_slots, op, ": slot_mapping[", token, "] is ", slot_mapping[token],
            "; the cache has ", num_slots, " slots");
  }
}

// store(token, place within the page, page of head 0) for each token.
template <typename Store>
void for_slots(KVCache& cache, int layer, Span<const std::int32_t> slot_mapping, std::int64_t cols, cpu::ThreadPool& pool,
               const Store& store) {
  cpu::for_row_ranges(pool, slot_mapping.size, cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      store(token, slot_mapping[token] % kPageTokens, cache.page(layer, slot_mapping[token] / kPageTokens, 0));
    }
  });
}

}  // namespace

void store_kv(Matrix<const float> k, Matrix<const float> v, KVCache& cache, int layer, Span<const std::int32_t> slot_mapping,
              cpu::ThreadPool& pool) {
  require_same_shape("store_kv", k, v);
  const std::int64_t num_cols = std::int64_t{cache.num_kv_heads()} * cache.head_dim();
  require(k.cols == num_cols && cache.latent_dim() == 0, "store_kv: k has ", k.cols, " columns, the cache holds ", num_cols);
  check_store("store_kv", cache, layer, slot_mapping, k.rows);
  const auto store = kv_store_kernels(cpu::active_isa()).store[static_cast<int>(cache.dtype())];
  const KVPageLayout& layout = cache.layout();
  for_slots(cache, layer, slot_mapping, num_cols, pool, [&](std::int64_t token, int offset, unsigned char* page) {
    for (int head = 0; head < cache.num_kv_heads(); ++head) {
      const std::int64_t column = std::int64_t{head} * layout.head_dim;
      store(k.row(token) + column, v.row(token) + column, layout, offset, page + head * layout.num_bytes);
    }
  });
}

void store_latent(Matrix<const float> latent, Matrix<const float> rope_key, KVCache& cache, int layer,
                  Span<const std::int32_t> slot_mapping, cpu::ThreadPool& pool) {
  require(latent.rows == rope_key.rows && latent.cols == cache.latent_dim() && latent.cols + rope_key.cols == cache.head_dim(),
          "store_latent: ", latent.cols, " and ", rope_key.cols, " columns, the cache holds ", cache.latent_dim(), " of ",
          cache.head_dim());
  check_store("store_latent", cache, layer, slot_mapping, latent.rows);
  const auto store = kv_store_kernels(cpu::active_isa()).store_latent[static_cast<int>(cache.dtype())];
  for_slots(cache, layer, slot_mapping, cache.head_dim(), pool, [&](std::int64_t token, int offset, unsigned char* page) {
    store(latent.row(token), rope_key.row(token), cache.layout(), offset, page);
  });
}

}  // namespace octavo
