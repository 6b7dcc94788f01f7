// The KV cache: keys and values of every layer in pages of 16 tokens, laid out as the CPU attention reads them.
//
// Memory is [page][layer][kv_head] with a page as in ops/attention/kv_page.h. A block of P tokens is P / 16 consecutive pages, so all
// that a block holds lies together: few huge pages are touched while few blocks are in use.
// A latent cache has one vector per token instead, of latent_dim + rope_dim elements (DeepSeek-V2, arXiv:2405.04434).
// The memory comes zeroed and is not touched before it is written (the kernel's zero pages).
#pragma once
#include <cstdint>
#include <memory>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"
#include "ops/attention/kv_page.h"

namespace octavo {

class KVCache {
 public:
  // block_size: a multiple of 16; head_dim: a multiple of 8, at most 256. latent_dim: of a latent cache, whose head_dim is the whole
  // vector's, at most 640, and which has one head; 0: keys and values. Throws std::bad_alloc when address space is short.
  KVCache(int num_layers, int num_blocks, int block_size, int num_kv_heads, int head_dim, KVDtype dtype = KVDtype::fp32,
          int latent_dim = 0);
  KVCache(const KVCache&) = delete;
  KVCache& operator=(const KVCache&) = delete;

  static std::int64_t bytes_per_block(int num_layers, int block_size, int num_kv_heads, int head_dim, KVDtype dtype = KVDtype::fp32,
                                      int latent_dim = 0);
  std::int64_t num_bytes() const { return num_layers_ * num_pages_ * num_kv_heads_ * layout_.num_bytes; }
  int num_layers() const { return num_layers_; }
  std::int64_t num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }
  int num_kv_heads() const { return num_kv_heads_; }
  int head_dim() const { return layout_.head_dim; }
  int latent_dim() const { return layout_.is_latent ? layout_.value_dim : 0; }
  KVDtype dtype() const { return dtype_; }

  const KVPageLayout& layout() const { return layout_; }
  unsigned char* page(int layer, std::int64_t page_index, int kv_head) const {
    return pages_.get() + ((page_index * num_layers_ + layer) * num_kv_heads_ + kv_head) * layout_.num_bytes;
  }

  // Copies all that a block holds. Throws std::invalid_argument for a block that is not there.
  void copy_block(std::int64_t source, std::int64_t destination);

  // Room for the partial results of one paged_attention at a time: scratch_elements() floats, aligned to 64 bytes.
  float* scratch() const { return reinterpret_cast<float*>(scratch_.get()); }
  std::int64_t scratch_elements() const;

 private:
  int num_layers_, block_size_, num_kv_heads_;
  std::int64_t num_blocks_, num_pages_;
  KVDtype dtype_;
  KVPageLayout layout_;
  std::shared_ptr<std::uint8_t> pages_;
  std::shared_ptr<std::uint8_t> scratch_;
};

// Rounds token i's heads, k and v [T, K * D], to the cache's type and writes them to slot slot_mapping[i] = block * P + offset
// (distinct, in range) of a layer.
void store_kv(Matrix<const float> k, Matrix<const float> v, KVCache& cache, int layer, Span<const std::int32_t> slot_mapping,
              cpu::ThreadPool& pool);

// The same for a latent cache: the vector of token i is latent[i] [T, L] and then rope_key[i] [T, R].
void store_latent(Matrix<const float> latent, Matrix<const float> rope_key, KVCache& cache, int layer,
                  Span<const std::int32_t> slot_mapping, cpu::ThreadPool& pool);

}  // namespace octavo
