// The blocks of one sequence, in order of position: a table in each cache group. Owns a reference to each block and drops them when it
// dies.
//
//   tokens   0 ........ full blocks (hashed, published) ........ num_committed ........ capacity
//            |  hashes_ : one per full committed block   | partial_ |  grown, not computed yet |
//
// All groups have as many blocks. A windowed group holds none of the first ones (`first_held`): no later token sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cache/block_pool.h"

namespace octavo::cache {

// The blocks of the layers that keep the same tokens. `window`: tokens that a token sees, its own included; all of them without one.
struct CacheGroup {
  std::shared_ptr<BlockPool> pool;
  std::optional<std::int64_t> window;
};

class BlockTable {
 public:
  // Throws std::invalid_argument unless there is a group, and all pools agree on block size, prefix caching and hash seed.
  explicit BlockTable(std::vector<CacheGroup> groups, std::string extras = {});
  ~BlockTable() { free(); }
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  std::size_t num_groups() const { return groups_.size(); }
  std::int64_t num_blocks() const { return num_blocks_; }
  std::int64_t first_held(std::size_t group) const { return groups_[group].first_held; }
  std::vector<BlockId> block_ids(std::size_t group) const;
  std::int64_t num_held(std::size_t group) const { return num_blocks_ - groups_[group].first_held; }
  std::int64_t num_committed() const { return num_committed_; }

  using BlockIds = std::vector<std::vector<BlockId>>;            // of each group
  using BlockCopies = std::vector<std::pair<BlockId, BlockId>>;  // of each group: source, destination

  // See _runtime.pyi for the contract of these. All throw std::invalid_argument and change nothing on misuse.
  std::int64_t match_prefix(const std::int32_t* token_ids, std::size_t num_tokens);
  std::optional<std::int64_t> fork(const BlockTable& parent, std::int64_t num_tokens);
  std::optional<BlockCopies> copy_last(const BlockTable& parent, std::int64_t num_tokens);
  std::optional<BlockIds> grow(std::int64_t num_tokens);
  void commit(const std::int32_t* token_ids, std::size_t num_tokens);
  void release_before(std::int64_t position);
  void free() noexcept;

 private:
  struct Group {
    std::shared_ptr<BlockPool> pool;
    std::optional<std::int64_t> window;
    std::vector<BlockId> block_ids{};  // entries before first_held are meaningless
    std::int64_t first_held = 0;
  };

  BlockPool& pool() const { return *groups_.front().pool; }
  std::int64_t block_size() const { return pool().block_size(); }
  std::int64_t first_seen_block(const Group& group, std::int64_t position) const;
  bool covers(const std::vector<char>& cached, const Group& group, std::int64_t num_blocks) const;
  std::int64_t longest_match(const std::vector<BlockHash>& hashes) const;
  bool have_free(std::int64_t num_blocks) const;
  void require_empty(const char* operation) const;
  void require_relative(const BlockTable& parent, const char* operation) const;
  BlockHash last_hash() const;
  void seal_partial();

  std::vector<Group> groups_;
  std::string extras_;
  std::int64_t num_blocks_ = 0;        // of each group, held or not
  std::vector<BlockHash> hashes_;      // empty without prefix caching
  std::vector<std::int32_t> partial_;  // committed tokens after the last full block; empty without prefix caching
  std::int64_t num_committed_ = 0;
  std::uint64_t cache_epoch_ = 0;  // the pools' when the first block was taken
};

}  // namespace octavo::cache
