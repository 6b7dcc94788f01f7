// Memory that a later op will read. Ops that arithmetic holds up fetch it on the side, so that it comes from a cache by then.
#pragma once
#include <cstdint>

namespace octavo::cpu {

// Chunks of equal size in the order in which they will be read: chunk i begins at base + indices[i] * stride. What is wanted of them are
// the bytes begin .. end - 1, counted through all chunks.
struct ReadAhead {
  const std::uint8_t* base = nullptr;
  std::int64_t stride = 0;
  const std::int32_t* indices = nullptr;
  std::int64_t chunk_bytes = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  // The share of one who does parts first .. last - 1 of `total`.
  ReadAhead share(std::int64_t first, std::int64_t last, std::int64_t total) const;
};

// Of the largest cache that this core reaches; 0 where the system does not tell.
std::int64_t last_level_cache_bytes();

}  // namespace octavo::cpu
