#include "program/arena.h"

#include <algorithm>
#include <numeric>

namespace octavo::program {
namespace {

std::int64_t aligned(std::int64_t size) { return (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

// `placed` is sorted by offset. Lowest offset at which `item` fits between those of them that live while it does.
std::int64_t lowest_gap(const std::vector<const ArenaItem*>& placed, const ArenaItem& item) {
  std::int64_t offset = 0;
  for (const ArenaItem* other : placed) {
    if (other->last < item.first || item.last < other->first) continue;
    if (offset + item.size <= other->offset) break;
    offset = std::max(offset, aligned(other->offset + other->size));
  }
  return offset;
}

}  // namespace

std::int64_t assign_offsets(std::vector<ArenaItem>& items) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return items[a].size > items[b].size; });
  std::vector<const ArenaItem*> placed;
  std::int64_t end = kArenaAlignment;
  for (std::size_t index : order) {
    ArenaItem& item = items[index];
    item.offset = lowest_gap(placed, item);
    end = std::max(end, aligned(item.offset + item.size));
    const auto position =
        std::upper_bound(placed.begin(), placed.end(), &item, [](const ArenaItem* a, const ArenaItem* b) { return a->offset < b->offset; });
    placed.insert(position, &item);
  }
  return end;
}

}  // namespace octavo::program
