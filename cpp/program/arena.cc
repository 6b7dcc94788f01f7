#include "program/arena.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace octavo::program {
namespace {

std::int64_t aligned(std::int64_t size, std::int64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

// `placed` is sorted by offset. Lowest offset at which `item` fits between those of them that live while it does.
std::int64_t lowest_gap(const std::vector<const ArenaItem*>& placed, const ArenaItem& item, std::int64_t alignment) {
  std::int64_t offset = 0;
  for (const ArenaItem* other : placed) {
    if (other->last < item.first || item.last < other->first) continue;
    if (offset + item.size <= other->offset) break;
    offset = std::max(offset, aligned(other->offset + other->size, alignment));
  }
  return offset;
}

std::vector<std::int64_t> limits_of(const Graph& graph, const std::map<std::string, std::int64_t>& row_limits) {
  std::vector<std::int64_t> limits;
  for (const std::string& name : graph.row_counts) {
    const auto found = row_limits.find(name);
    require(found != row_limits.end(), "arena: the most rows of ", name, " are not given");
    require(found->second >= 1, "arena: at most ", found->second, " rows of ", name);
    limits.push_back(found->second);
  }
  return limits;
}

}  // namespace

std::int64_t assign_offsets(std::vector<ArenaItem>& items, std::int64_t alignment) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return items[a].size > items[b].size; });
  std::vector<const ArenaItem*> placed;
  std::int64_t end = alignment;
  for (std::size_t index : order) {
    ArenaItem& item = items[index];
    item.offset = lowest_gap(placed, item, alignment);
    end = std::max(end, aligned(item.offset + item.size, alignment));
    const auto position =
        std::upper_bound(placed.begin(), placed.end(), &item, [](const ArenaItem* a, const ArenaItem* b) { return a->offset < b->offset; });
    placed.insert(position, &item);
  }
  return end;
}

ArenaLayout lay_out(const Graph& graph, const std::map<std::string, std::int64_t>& row_limits, std::int64_t activation_bytes,
                    std::int64_t alignment, const std::vector<Scratch>& scratch) {
  const std::vector<std::int64_t> limits = limits_of(graph, row_limits);
  std::vector<ArenaItem> items;
  for (const Storage& storage : graph.storages) {
    const std::int64_t rows = limits[static_cast<std::size_t>(storage.rows)] * storage.rows_factor;
    items.push_back({rows * storage.cols * bytes_of(storage.type, activation_bytes), storage.first_op, storage.last_op, 0});
  }
  for (const auto& output : graph.outputs) {
    const int storage = graph.values[static_cast<std::size_t>(output.second)].storage;
    items[static_cast<std::size_t>(storage)].last = static_cast<int>(graph.ops.size());
  }
  for (const Scratch& wanted : scratch) items.push_back({wanted.num_bytes, wanted.op, wanted.op, 0});
  ArenaLayout layout;
  layout.num_bytes = assign_offsets(items, alignment);
  for (std::size_t i = 0; i < items.size(); ++i) {
    (i < graph.storages.size() ? layout.storage_offsets : layout.scratch_offsets).push_back(items[i].offset);
  }
  return layout;
}

}  // namespace octavo::program
