#include "cache/block_table.h"

#include <algorithm>

#include "base/error.h"

namespace octavo::cache {

namespace {

void require_not_negative(std::int64_t num_tokens) { require(num_tokens >= 0, "num_tokens is ", num_tokens, "; it must not be negative"); }

}  // namespace

BlockTable::BlockTable(std::vector<CacheGroup> groups, std::string extras) : extras_(std::move(extras)) {
  require(!groups.empty(), "groups is empty; a block table needs the pools that its blocks come from");
  for (CacheGroup& group : groups) {
    require(group.pool != nullptr, "pool is None; a block table needs the pool that its blocks come from");
    require(!group.window || *group.window >= 1, "window is ", group.window.value_or(0), " tokens; it must be at least 1");
    const BlockPool& first = *groups.front().pool;
    require(group.pool->block_size() == first.block_size() && group.pool->prefix_caching() == first.prefix_caching() &&
                group.pool->hasher().root(extras_) == first.hasher().root(extras_),
            "the pools of a table must agree on block_size, prefix_caching and hash_seed");
  }
  for (CacheGroup& group : groups) groups_.push_back({std::move(group.pool), group.window});
}

std::vector<BlockId> BlockTable::block_ids(std::size_t group) const {
  const Group& from = groups_[group];
  return {from.block_ids.begin() + from.first_held, from.block_ids.end()};
}

// The first block that a token at `position`, or one after it, sees.
std::int64_t BlockTable::first_seen_block(const Group& group, std::int64_t position) const {
  return group.window ? std::max<std::int64_t>(position - *group.window + 1, 0) / block_size() : 0;
}

// Whether the blocks that the token after `num_blocks` full ones sees are all cached.
bool BlockTable::covers(const std::vector<char>& cached, const Group& group, std::int64_t num_blocks) const {
  const std::int64_t first = first_seen_block(group, num_blocks * block_size());
  return std::find(cached.begin() + std::min(first, num_blocks), cached.begin() + num_blocks, 0) == cached.begin() + num_blocks;
}

// The most blocks with which a sequence of these full blocks can go on: without a window all of them must be cached, else those in sight.
std::int64_t BlockTable::longest_match(const std::vector<BlockHash>& hashes) const {
  auto longest = static_cast<std::int64_t>(hashes.size());
  std::vector<std::vector<char>> cached(groups_.size());
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].window) continue;  // the hashes are those of blocks that it has
    for (const BlockHash& hash : hashes) cached[g].push_back(groups_[g].pool->is_cached(hash));
  }
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      while (groups_[g].window && !covers(cached[g], groups_[g], longest)) --longest, moved = true;
    }
  }
  return longest;
}

std::int64_t BlockTable::match_prefix(const std::int32_t* token_ids, std::size_t num_tokens) {
  require_empty("match_prefix");
  cache_epoch_ = pool().cache_epoch();
  if (!pool().prefix_caching() || num_tokens == 0) return 0;
  const auto size = static_cast<std::size_t>(block_size());
  const std::size_t max_blocks = (num_tokens - 1) / size;  // one token at least is left to compute
  std::vector<BlockHash> hashes;
  BlockHash hash = pool().hasher().root(extras_);
  for (std::size_t i = 0; i < max_blocks; ++i) {
    hash = pool().hasher().block(hash, token_ids + i * size, size);
    if (!std::all_of(groups_.begin(), groups_.end(), [&](const Group& group) { return group.window || group.pool->is_cached(hash); }))
      break;
    hashes.push_back(hash);
  }
  num_blocks_ = longest_match(hashes);
  hashes_.assign(hashes.begin(), hashes.begin() + num_blocks_);
  for (Group& group : groups_) {
    group.first_held = std::min(first_seen_block(group, num_blocks_ * block_size()), num_blocks_);
    group.block_ids.assign(static_cast<std::size_t>(num_blocks_), 0);
    for (std::int64_t i = group.first_held; i < num_blocks_; ++i) group.block_ids[i] = *group.pool->share_cached(hashes_[i]);
  }
  num_committed_ = num_blocks_ * block_size();
  return num_committed_;
}

std::optional<std::int64_t> BlockTable::fork(const BlockTable& parent, std::int64_t num_tokens) {
  require_empty("fork");
  require_not_negative(num_tokens);
  require_relative(parent, "fork");
  const std::int64_t num_shared = std::min(num_tokens, parent.num_committed_) / block_size();
  for (std::size_t g = 0; g < groups_.size(); ++g) {  // what the parent gave back and the fork would see cannot be shared
    if (parent.first_held(g) > first_seen_block(groups_[g], num_shared * block_size())) return std::nullopt;
  }
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    const Group& from = parent.groups_[g];
    group.first_held = std::min(first_seen_block(group, num_shared * block_size()), num_shared);
    group.block_ids.assign(from.block_ids.begin(), from.block_ids.begin() + num_shared);
    for (std::int64_t i = group.first_held; i < num_shared; ++i) group.pool->share(group.block_ids[i]);
  }
  if (pool().prefix_caching()) hashes_.assign(parent.hashes_.begin(), parent.hashes_.begin() + num_shared);
  cache_epoch_ = num_shared > 0 ? parent.cache_epoch_ : pool().cache_epoch();
  num_blocks_ = num_shared;
  num_committed_ = num_shared * block_size();
  return num_committed_;
}

std::optional<BlockTable::BlockCopies> BlockTable::copy_last(const BlockTable& parent, std::int64_t num_tokens) {
  require_relative(parent, "copy_last");
  require(num_tokens > num_committed_ && num_tokens < num_committed_ + block_size() && num_blocks_ * block_size() == num_committed_,
          "copy_last to ", num_tokens, " tokens after ", num_committed_, " in ", num_blocks_,
          " blocks; it completes a fork by part of a block");
  require(num_tokens <= parent.num_committed_, "copy_last to ", num_tokens, " tokens, but the parent has committed ",
          parent.num_committed_);
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    require(parent.first_held(g) <= num_blocks_, "copy_last: the parent has given back the block of token ", num_committed_);
  }
  if (!have_free(1)) return std::nullopt;
  if (num_blocks_ == 0) cache_epoch_ = parent.cache_epoch_;
  BlockCopies copies;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const BlockId copy = groups_[g].pool->allocate();
    groups_[g].block_ids.push_back(copy);
    copies.emplace_back(parent.groups_[g].block_ids[num_blocks_], copy);
  }
  ++num_blocks_;
  return copies;
}

std::optional<BlockTable::BlockIds> BlockTable::grow(std::int64_t num_tokens) {
  require_not_negative(num_tokens);
  if (num_blocks_ == 0) cache_epoch_ = pool().cache_epoch();
  const std::int64_t num_needed = num_tokens / block_size() + (num_tokens % block_size() != 0);
  const std::int64_t num_added = std::max<std::int64_t>(num_needed - num_blocks_, 0);
  if (!have_free(num_added)) return std::nullopt;
  BlockIds added(groups_.size(), std::vector<BlockId>(static_cast<std::size_t>(num_added)));
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    for (BlockId& id : added[g]) id = groups_[g].pool->allocate();
    groups_[g].block_ids.insert(groups_[g].block_ids.end(), added[g].begin(), added[g].end());
  }
  num_blocks_ += num_added;
  return added;
}

void BlockTable::commit(const std::int32_t* token_ids, std::size_t num_tokens) {
  const std::int64_t capacity = num_blocks_ * block_size();
  require(static_cast<std::int64_t>(num_tokens) <= capacity - num_committed_, "commit of ", num_tokens, " tokens after ", num_committed_,
          ", but the table's ", num_blocks_, " blocks hold ", capacity, "; grow it before the step");
  num_committed_ += static_cast<std::int64_t>(num_tokens);
  if (!pool().prefix_caching()) return;
  const auto size = static_cast<std::size_t>(block_size());
  while (num_tokens > 0) {
    const std::size_t taken = std::min(num_tokens, size - partial_.size());
    partial_.insert(partial_.end(), token_ids, token_ids + taken);
    token_ids += taken;
    num_tokens -= taken;
    if (partial_.size() == size) seal_partial();
  }
}

void BlockTable::release_before(std::int64_t position) {
  require_not_negative(position);
  for (Group& group : groups_) {
    const std::int64_t first = std::min(first_seen_block(group, position), num_blocks_);
    for (; group.first_held < first; ++group.first_held) group.pool->release(group.block_ids[group.first_held]);
  }
}

void BlockTable::free() noexcept {
  // Last block first, so that a sequence's end is evicted before the prefix that other sequences may still hit.
  for (Group& group : groups_) {
    while (static_cast<std::int64_t>(group.block_ids.size()) > group.first_held) {
      group.pool->release(group.block_ids.back());
      group.block_ids.pop_back();
    }
    group.block_ids.clear();
    group.first_held = 0;
  }
  num_blocks_ = 0;
  hashes_.clear();
  partial_.clear();
  num_committed_ = 0;
}

bool BlockTable::have_free(std::int64_t num_blocks) const {
  return std::all_of(groups_.begin(), groups_.end(), [=](const Group& group) { return num_blocks <= group.pool->num_free(); });
}

void BlockTable::require_empty(const char* operation) const {
  require(num_blocks_ == 0, operation, " needs an empty table, but this one has ", num_blocks_, " blocks; free it first");
}

void BlockTable::require_relative(const BlockTable& parent, const char* operation) const {
  require(parent.groups_.size() == groups_.size(), operation, ": the parent's cache groups are others");
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    require(parent.groups_[g].pool == groups_[g].pool, operation, ": the parent's blocks belong to another pool");
  }
  require(parent.extras_ == extras_, operation, ": the parent's extras differ, so its KV content is not this sequence's");
}

BlockHash BlockTable::last_hash() const { return hashes_.empty() ? pool().hasher().root(extras_) : hashes_.back(); }

void BlockTable::seal_partial() {
  const auto index = static_cast<std::int64_t>(hashes_.size());
  hashes_.push_back(pool().hasher().block(last_hash(), partial_.data(), partial_.size()));
  partial_.clear();
  if (cache_epoch_ != pool().cache_epoch()) return;
  for (Group& group : groups_) {
    if (index >= group.first_held) group.pool->publish(group.block_ids[index], hashes_.back());
  }
}

}  // namespace octavo::cache
