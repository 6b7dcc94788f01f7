// Static memory planning: places of buffers with known lifetimes in one arena.
//
// Greedy by size (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020): largest first, each at
// the lowest offset where it overlaps nothing that lives at the same time.
#pragma once
#include <cstdint>
#include <vector>

namespace octavo::program {

constexpr std::int64_t kArenaAlignment = 16;  // floats: a cache line, and the widest vector

struct ArenaItem {
  std::int64_t size;    // floats
  int first;            // alive from this call ...
  int last;             // ... to this one, both included
  std::int64_t offset;  // result, a multiple of kArenaAlignment
};

// Sets each item's offset. Returns the arena's size in floats, a multiple of kArenaAlignment, at least one line.
std::int64_t assign_offsets(std::vector<ArenaItem>& items);

}  // namespace octavo::program
