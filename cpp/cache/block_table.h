// The blocks of one sequence, in order of position. Owns a reference to each and drops them when it dies.
//
//   tokens   0 ........ full blocks (hashed, published) ........ num_committed ........ capacity
//            |  hashes_ : one per full committed block   | partial_ |  grown, not computed yet |
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/block_pool.h"

namespace octavo::cache {

class BlockTable {
 public:
  explicit BlockTable(std::shared_ptr<BlockPool> pool, std::string extras = {});
  ~BlockTable() { free(); }
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  const std::vector<BlockId>& block_ids() const { return block_ids_; }
  std::int64_t num_committed() const { return num_committed_; }

  // See _runtime.pyi for the contract of these. All throw std::invalid_argument and change nothing on misuse.
  std::int64_t match_prefix(const std::int32_t* token_ids, std::size_t num_tokens);
  std::int64_t fork(const BlockTable& parent, std::int64_t num_tokens);
  std::optional<std::vector<BlockId>> grow(std::int64_t num_tokens);
  void commit(const std::int32_t* token_ids, std::size_t num_tokens);
  void free() noexcept;

 private:
  void require_empty(const char* operation) const;
  BlockHash last_hash() const;
  void seal_partial();

  std::shared_ptr<BlockPool> pool_;
  std::string extras_;
  std::vector<BlockId> block_ids_;
  std::vector<BlockHash> hashes_;      // empty without prefix caching
  std::vector<std::int32_t> partial_;  // committed tokens after the last full block; empty without prefix caching
  std::int64_t num_committed_ = 0;
  std::uint64_t cache_epoch_ = 0;  // the pool's when the first block was taken
};

}  // namespace octavo::cache
