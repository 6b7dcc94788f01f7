#include "ops/attention/kv_cache.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "cpu/split.h"
#include "ops/attention/attention_kernels.h"

namespace octavo {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

std::int64_t elements_per_page(int head_dim) { return kPageTokens * (head_dim + round_up(head_dim, kPageTokens)); }

float* map_zeroed(std::int64_t elements) {
  void* memory = mmap(nullptr, static_cast<std::size_t>(elements) * sizeof(float), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<float*>(memory);
}

void store_token(const float* k, const float* v, const KVCache& cache, int layer, std::int64_t slot) {
  const std::int64_t offset = slot % kPageTokens;
  const int head_dim = cache.head_dim();
  for (int head = 0; head < cache.num_kv_heads(); ++head) {
    float* keys = cache.page(layer, slot / kPageTokens, head) + offset;
    for (int d = 0; d < head_dim; ++d) keys[d * kPageTokens] = k[head * head_dim + d];
    float* value = keys - offset + cache.value_offset() + offset * cache.value_stride();
    std::memcpy(value, v + head * head_dim, static_cast<std::size_t>(head_dim) * sizeof(float));
  }
}

}  // namespace

KVCache::KVCache(int num_layers, int num_blocks, int block_size, int num_kv_heads, int head_dim)
    : num_layers_(num_layers), block_size_(block_size), num_kv_heads_(num_kv_heads), head_dim_(head_dim), num_blocks_(num_blocks) {
  require(num_layers >= 1 && num_blocks >= 1 && num_kv_heads >= 1, "KV cache: layers, blocks and heads must be at least 1, got ",
          num_layers, ", ", num_blocks, ", ", num_kv_heads);
  require(block_size >= kPageTokens && block_size % kPageTokens == 0, "KV cache: block_size is ", block_size,
          "; it must be a multiple of 16");
  require(head_dim >= 8 && head_dim <= kMaxHeadDim && head_dim % 8 == 0, "KV cache: head_dim is ", head_dim,
          "; it must be a multiple of 8, at most ", kMaxHeadDim);
  num_pages_ = num_blocks_ * (block_size / kPageTokens);
  value_stride_ = round_up(head_dim, kPageTokens);
  page_elements_ = elements_per_page(head_dim);
  pages_ = map_zeroed(num_layers_ * num_pages_ * num_kv_heads_ * page_elements_);
  scratch_ = map_zeroed(scratch_elements());
}

KVCache::~KVCache() {
  munmap(pages_, static_cast<std::size_t>(num_bytes()));
  munmap(scratch_, static_cast<std::size_t>(scratch_elements()) * sizeof(float));
}

std::int64_t KVCache::bytes_per_block(int num_layers, int block_size, int num_kv_heads, int head_dim) {
  const std::int64_t pages = std::int64_t{num_layers} * (block_size / kPageTokens) * num_kv_heads;
  return pages * elements_per_page(head_dim) * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t KVCache::scratch_elements() const { return kPartialSlots * partial_elements(value_stride_); }

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
  cpu::for_row_ranges(pool, k.rows, num_cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) store_token(k.row(token), v.row(token), cache, layer, slot_mapping[token]);
  });
}

}  // namespace octavo
