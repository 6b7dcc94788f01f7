// All blocks of the KV cache: who uses them, which hold a prefix that may be hit again, which is taken next.
//
//   used           ref_count > 0; published or not
//   free, cached   ref_count = 0, published: a prefix may still hit it; evicted least recently freed first
//   free           ref_count = 0, not published: taken before any cached block
//
// Owns no memory of the cache itself: a block is a number. Not thread-safe. The contract is in README.md beside this file.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "cache/block_hash.h"
#include "cache/free_list.h"
#include "cache/prefix_index.h"

namespace octavo::cache {

// What a block is to somebody who looks at the pool; the numbers are part of the contract of `BlockPool::states`.
enum class BlockState : std::uint8_t { kFree = 0, kHeld = 1, kCached = 2, kShared = 3 };

class BlockPool {
 public:
  // Throws std::invalid_argument unless num_blocks >= 1 and block_size >= 1 (tokens).
  BlockPool(std::int32_t num_blocks, std::int32_t block_size, bool prefix_caching, std::uint64_t hash_seed);

  std::int32_t num_blocks() const { return static_cast<std::int32_t>(blocks_.size()); }
  std::int32_t block_size() const { return block_size_; }
  bool prefix_caching() const { return prefix_caching_; }
  std::int32_t num_free() const { return free_.size(); }
  std::int32_t num_cached() const { return index_.size(); }
  const BlockHasher& hasher() const { return hasher_; }
  // One entry per block, in the order of their numbers: free, held by one table, free and cached, shared by several tables. O(num_blocks).
  std::vector<BlockState> states() const;

  // Counts the resets. A table whose content is older than the last reset publishes nothing more.
  std::uint64_t cache_epoch() const { return cache_epoch_; }

  bool is_cached(const BlockHash& hash) const { return index_.find(hash).has_value(); }
  // Takes a free block with one reference; evicts it from the index where it is cached. num_free() must not be 0.
  BlockId allocate();
  // Adds a reference to the cached block of this hash and returns it; nothing where none is cached.
  std::optional<BlockId> share_cached(const BlockHash& hash);
  // Adds a reference to a block.
  void share(BlockId id);
  // Drops a reference; without any the block is free.
  void release(BlockId id);
  // Lets prefixes hit a used block from now on. Does nothing where the index has another block of this hash.
  void publish(BlockId id, const BlockHash& hash);

  // Forgets every cached prefix. Blocks in use stay in use.
  void reset_prefix_cache();

  // Throws std::runtime_error naming the first broken invariant and its block. O(num_blocks).
  void check_integrity() const;

 private:
  struct Block {
    std::int32_t ref_count = 0;
    bool published = false;
    BlockHash hash;  // of a published block
  };

  void check_free_list() const;
  void check_blocks() const;

  std::int32_t block_size_;
  bool prefix_caching_;
  BlockHasher hasher_;
  std::vector<Block> blocks_;
  FreeList free_;  // unpublished blocks first, then cached ones, least recently freed first
  PrefixIndex index_;
  std::int64_t num_references_ = 0;  // sum of all ref_counts
  std::uint64_t cache_epoch_ = 0;
};

}  // namespace octavo::cache
