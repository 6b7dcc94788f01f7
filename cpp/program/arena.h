// Static memory planning: where each storage of a graph lies in one arena, so that those which are not in use together share memory.
//
// Greedy by size (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020): largest first, each at
// the lowest offset where it overlaps nothing that is in use at the same time. Every lowering uses it, whatever its device.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "program/graph.h"

namespace octavo::program {

struct ArenaItem {
  std::int64_t size;    // bytes
  int first;            // in use from this op ...
  int last;             // ... to this one, both included
  std::int64_t offset;  // result, a multiple of the alignment
};

// Sets each item's offset. Returns the arena's size in bytes, a multiple of `alignment`, at least one of it.
std::int64_t assign_offsets(std::vector<ArenaItem>& items, std::int64_t alignment);

// Memory that a lowering wants for itself while one op runs.
struct Scratch {
  int op;
  std::int64_t num_bytes;
};

struct ArenaLayout {
  std::int64_t num_bytes = 0;
  std::vector<std::int64_t> storage_offsets;  // of Graph::storages, in bytes
  std::vector<std::int64_t> scratch_offsets;  // of the scratch asked for, in its order
};

// row_limits: the most rows of each of the graph's counts, by name. Throws std::invalid_argument for one that is missing or below 1.
ArenaLayout lay_out(const Graph& graph, const std::map<std::string, std::int64_t>& row_limits, std::int64_t activation_bytes,
                    std::int64_t alignment, const std::vector<Scratch>& scratch = {});

}  // namespace octavo::program
