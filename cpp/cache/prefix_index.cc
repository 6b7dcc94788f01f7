#include "cache/prefix_index.h"

#include <algorithm>

namespace octavo::cache {

namespace {

std::size_t table_size(std::int32_t max_size) {
  std::size_t size = 2;
  while (size < 2 * static_cast<std::size_t>(max_size)) size *= 2;
  return size;
}

}  // namespace

PrefixIndex::PrefixIndex(std::int32_t max_size) : slots_(table_size(max_size)), mask_(slots_.size() - 1) {}

std::size_t PrefixIndex::probe(const BlockHash& hash) const {
  std::size_t slot = home(hash);
  while (slots_[slot].used && slots_[slot].hash != hash) slot = next(slot);
  return slot;
}

std::optional<BlockId> PrefixIndex::find(const BlockHash& hash) const {
  const Slot& slot = slots_[probe(hash)];
  if (!slot.used) return std::nullopt;
  return slot.block;
}

bool PrefixIndex::insert(const BlockHash& hash, BlockId block) {
  Slot& slot = slots_[probe(hash)];
  if (slot.used) return false;
  slot = {hash, block, true};
  ++size_;
  return true;
}

void PrefixIndex::erase(const BlockHash& hash) {
  std::size_t gap = probe(hash);
  if (!slots_[gap].used) return;
  for (std::size_t slot = next(gap); slots_[slot].used; slot = next(slot)) {
    // An entry may move back into the gap unless its home lies after the gap (cyclically).
    const std::size_t from_home = (slot - home(slots_[slot].hash)) & mask_;
    const std::size_t from_gap = (slot - gap) & mask_;
    if (from_home < from_gap) continue;
    slots_[gap] = slots_[slot];
    gap = slot;
  }
  slots_[gap].used = false;
  --size_;
}

void PrefixIndex::clear() {
  std::fill(slots_.begin(), slots_.end(), Slot{});
  size_ = 0;
}

}  // namespace octavo::cache
