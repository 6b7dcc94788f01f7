#include "cache/block_pool.h"

#include <stdexcept>

#include "base/error.h"

namespace octavo::cache {

namespace {

std::int32_t at_least_one(const char* name, std::int32_t value) {
  require(value >= 1, name, " is ", value, "; it must be at least 1");
  return value;
}

// Checks an invariant, as opposed to an argument.
template <typename... Parts>
void ensure(bool holds, const Parts&... message) {
  if (!holds) throw std::runtime_error(concat(message...));
}

}  // namespace

BlockPool::BlockPool(std::int32_t num_blocks, std::int32_t block_size, bool prefix_caching, std::uint64_t hash_seed)
    : block_size_(at_least_one("block_size", block_size)),
      prefix_caching_(prefix_caching),
      hasher_(hash_seed),
      blocks_(static_cast<std::size_t>(at_least_one("num_blocks", num_blocks))),
      free_(num_blocks),
      index_(prefix_caching ? num_blocks : 0) {}

BlockId BlockPool::allocate() {
  const BlockId id = free_.pop_front();
  Block& block = blocks_[id];
  if (block.published) {
    index_.erase(block.hash);
    block.published = false;
  }
  block.ref_count = 1;
  ++num_references_;
  return id;
}

std::optional<BlockId> BlockPool::share_cached(const BlockHash& hash) {
  const std::optional<BlockId> id = index_.find(hash);
  if (id) share(*id);
  return id;
}

void BlockPool::share(BlockId id) {
  Block& block = blocks_[id];
  if (block.ref_count == 0) free_.remove(id);
  ++block.ref_count;
  ++num_references_;
}

void BlockPool::release(BlockId id) {
  Block& block = blocks_[id];
  --num_references_;
  if (--block.ref_count > 0) return;
  if (block.published) {
    free_.push_back(id);
  } else {
    free_.push_front(id);
  }
}

void BlockPool::publish(BlockId id, const BlockHash& hash) {
  if (!prefix_caching_ || !index_.insert(hash, id)) return;
  blocks_[id].hash = hash;
  blocks_[id].published = true;
}

void BlockPool::reset_prefix_cache() {
  index_.clear();
  for (Block& block : blocks_) block.published = false;
  ++cache_epoch_;
}

std::vector<BlockState> BlockPool::states() const {
  std::vector<BlockState> states;
  states.reserve(blocks_.size());
  for (const Block& block : blocks_) {
    const BlockState unreferenced = block.published ? BlockState::kCached : BlockState::kFree;
    const BlockState referenced = block.ref_count > 1 ? BlockState::kShared : BlockState::kHeld;
    states.push_back(block.ref_count == 0 ? unreferenced : referenced);
  }
  return states;
}

void BlockPool::check_integrity() const {
  check_free_list();
  check_blocks();
}

void BlockPool::check_free_list() const {
  bool after_cached = false;
  const bool walked = free_.walk([&](BlockId id) {
    const Block& block = blocks_[id];
    ensure(block.ref_count == 0, "block ", id, " is in the free list while it is referenced");
    ensure(block.published || !after_cached, "block ", id, " is not cached, yet stands after a cached block in the free list");
    after_cached = block.published;
    return true;
  });
  ensure(walked, "block pool: the free list's links are broken");
}

void BlockPool::check_blocks() const {
  std::int32_t num_unreferenced = 0;
  std::int32_t num_published = 0;
  std::int64_t num_references = 0;
  for (BlockId id = 0; id < num_blocks(); ++id) {
    const Block& block = blocks_[id];
    ensure(block.ref_count >= 0, "block ", id, " was released more often than it was taken");
    ensure(!block.published || index_.find(block.hash) == id, "block ", id,
           " is published, yet the prefix index has another block of its hash or none");
    num_unreferenced += block.ref_count == 0;
    num_published += block.published;
    num_references += block.ref_count;
  }
  ensure(num_references == num_references_, "block pool: the reference counts do not sum to the references handed out");
  ensure(num_unreferenced == free_.size(), "block pool: an unreferenced block is not in the free list");
  ensure(num_published == index_.size(), "block pool: the prefix index has an entry whose block is not published");
}

}  // namespace octavo::cache
