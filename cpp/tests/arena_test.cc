#include "program/arena.h"

#include <gtest/gtest.h>

namespace octavo::program {
namespace {

constexpr std::int64_t kAlignment = 16;

bool overlap(const ArenaItem& a, const ArenaItem& b) {
  const bool in_time = a.first <= b.last && b.first <= a.last;
  return in_time && a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

TEST(Arena, ItemsAliveTogetherNeverOverlap) {
  std::vector<ArenaItem> items;
  for (int i = 0; i < 200; ++i) items.push_back({1 + (i * 37) % 113, i, i + 1 + (i * 11) % 7, 0});
  const std::int64_t size = assign_offsets(items, kAlignment);
  std::int64_t total = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    total += items[i].size;
    EXPECT_EQ(items[i].offset % kAlignment, 0);
    EXPECT_LE(items[i].offset + items[i].size, size);
    for (std::size_t j = 0; j < i; ++j) EXPECT_FALSE(overlap(items[i], items[j])) << i << " and " << j;
  }
  EXPECT_LT(size, total / 4);  // memory is shared, not merely correct
}

TEST(Arena, AnEmptyProgramHasOneLine) {
  std::vector<ArenaItem> items;
  EXPECT_EQ(assign_offsets(items, kAlignment), kAlignment);
}

}  // namespace
}  // namespace octavo::program
