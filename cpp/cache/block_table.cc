#include "cache/block_table.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace octavo::cache {

namespace {

void require_not_negative(std::int64_t num_tokens) { require(num_tokens >= 0, "num_tokens is ", num_tokens, "; it must not be negative"); }

}  // namespace

BlockTable::BlockTable(std::shared_ptr<BlockPool> pool, std::string extras) : pool_(std::move(pool)), extras_(std::move(extras)) {
  require(pool_ != nullptr, "pool is None; a block table needs the pool that its blocks come from");
}

std::int64_t BlockTable::match_prefix(const std::int32_t* token_ids, std::size_t num_tokens) {
  require_empty("match_prefix");
  cache_epoch_ = pool_->cache_epoch();
  if (!pool_->prefix_caching() || num_tokens == 0) return 0;
  const auto block_size = static_cast<std::size_t>(pool_->block_size());
  const std::size_t max_blocks = (num_tokens - 1) / block_size;  // one token at least is left to compute
  BlockHash hash = pool_->hasher().root(extras_);
  for (std::size_t i = 0; i < max_blocks; ++i) {
    hash = pool_->hasher().block(hash, token_ids + i * block_size, block_size);
    const std::optional<BlockId> id = pool_->share_cached(hash);
    if (!id) break;
    block_ids_.push_back(*id);
    hashes_.push_back(hash);
  }
  num_committed_ = static_cast<std::int64_t>(block_ids_.size() * block_size);
  return num_committed_;
}

std::int64_t BlockTable::fork(const BlockTable& parent, std::int64_t num_tokens) {
  require_empty("fork");
  require_not_negative(num_tokens);
  require(parent.pool_ == pool_, "fork: the parent's blocks belong to another pool");
  require(parent.extras_ == extras_, "fork: the parent's extras differ, so its KV content is not this sequence's");
  const std::int64_t num_shared = std::min(num_tokens, parent.num_committed_) / pool_->block_size();
  block_ids_.assign(parent.block_ids_.begin(), parent.block_ids_.begin() + num_shared);
  if (pool_->prefix_caching()) hashes_.assign(parent.hashes_.begin(), parent.hashes_.begin() + num_shared);
  for (const BlockId id : block_ids_) pool_->share(id);
  cache_epoch_ = num_shared > 0 ? parent.cache_epoch_ : pool_->cache_epoch();
  num_committed_ = num_shared * pool_->block_size();
  return num_committed_;
}

std::optional<std::vector<BlockId>> BlockTable::grow(std::int64_t num_tokens) {
  require_not_negative(num_tokens);
  if (block_ids_.empty()) cache_epoch_ = pool_->cache_epoch();
  const std::int64_t block_size = pool_->block_size();
  const std::int64_t num_needed = num_tokens / block_size + (num_tokens % block_size != 0);
  const std::int64_t num_owned = static_cast<std::int64_t>(block_ids_.size());
  const std::int64_t num_added = std::max<std::int64_t>(num_needed - num_owned, 0);
  if (num_added > pool_->num_free()) return std::nullopt;
  std::vector<BlockId> added(static_cast<std::size_t>(num_added));
  block_ids_.resize(static_cast<std::size_t>(num_owned + num_added));
  for (BlockId& id : added) id = pool_->allocate();
  std::copy(added.begin(), added.end(), block_ids_.begin() + num_owned);
  return added;
}

void BlockTable::commit(const std::int32_t* token_ids, std::size_t num_tokens) {
  const auto capacity = static_cast<std::int64_t>(block_ids_.size()) * pool_->block_size();
  require(static_cast<std::int64_t>(num_tokens) <= capacity - num_committed_, "commit of ", num_tokens, " tokens after ", num_committed_,
          ", but the table's ", block_ids_.size(), " blocks hold ", capacity, "; grow it before the step");
  num_committed_ += static_cast<std::int64_t>(num_tokens);
  if (!pool_->prefix_caching()) return;
  const auto block_size = static_cast<std::size_t>(pool_->block_size());
  while (num_tokens > 0) {
    const std::size_t taken = std::min(num_tokens, block_size - partial_.size());
    partial_.insert(partial_.end(), token_ids, token_ids + taken);
    token_ids += taken;
    num_tokens -= taken;
    if (partial_.size() == block_size) seal_partial();
  }
}

void BlockTable::free() noexcept {
  // Last block first, so that a sequence's end is evicted before the prefix that other sequences may still hit.
  for (auto id = block_ids_.rbegin(); id != block_ids_.rend(); ++id) pool_->release(*id);
  block_ids_.clear();
  hashes_.clear();
  partial_.clear();
  num_committed_ = 0;
}

void BlockTable::require_empty(const char* operation) const {
  require(block_ids_.empty(), operation, " needs an empty table, but this one has ", block_ids_.size(), " blocks; free it first");
}

BlockHash BlockTable::last_hash() const { return hashes_.empty() ? pool_->hasher().root(extras_) : hashes_.back(); }

void BlockTable::seal_partial() {
  const BlockId id = block_ids_[hashes_.size()];
  hashes_.push_back(pool_->hasher().block(last_hash(), partial_.data(), partial_.size()));
  partial_.clear();
  if (cache_epoch_ == pool_->cache_epoch()) pool_->publish(id, hashes_.back());
}

}  // namespace octavo::cache
