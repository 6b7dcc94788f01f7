// Block hash -> block: which block holds the K and V of a prefix.
//
// Open addressing with linear probing in a table at most half full; removal closes the gap instead of leaving a mark
// (Knuth, TAOCP vol. 3, 6.4, algorithm R). The keys are uniform already, so their low bits are the home slot.
// All memory is taken at construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cache/block_hash.h"
#include "cache/free_list.h"

namespace octavo::cache {

class PrefixIndex {
 public:
  explicit PrefixIndex(std::int32_t max_size);

  std::int32_t size() const { return size_; }
  std::optional<BlockId> find(const BlockHash& hash) const;

  // False, changing nothing, where the hash is there already. There must be fewer than max_size entries.
  bool insert(const BlockHash& hash, BlockId block);
  void erase(const BlockHash& hash);
  void clear();

 private:
  struct Slot {
    BlockHash hash;
    BlockId block = 0;
    bool used = false;
  };

  std::size_t home(const BlockHash& hash) const { return hash.low & mask_; }
  std::size_t next(std::size_t slot) const { return (slot + 1) & mask_; }
  // The slot that holds the hash, or else the free one where it belongs.
  std::size_t probe(const BlockHash& hash) const;

  std::vector<Slot> slots_;  // a power of two of them
  std::size_t mask_;
  std::int32_t size_ = 0;
};

}  // namespace octavo::cache
