// What this machine can do at most, measured at start in about a second: the denominators of every figure of octavo-bench.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cpu/thread_pool.h"

namespace octavo::bench {

// Reading over and over what a cache holds, or what none does.
struct ReadCeiling {
  std::string name;        // "L1 read", "L2 read", ..., "memory read"
  std::int64_t max_bytes;  // the largest working set that fits: the caches of all threads together
  double gb_per_s;
};

struct Ceilings {
  std::vector<ReadCeiling> reads;  // fastest first; the last is memory, where everything fits
  double memory_gb_per_s_one_thread;
  double fma_gflop_per_s;  // float32 fused multiply-adds in registers, all threads, the active instruction set
  double int8_gop_per_s;   // dot products of 8-bit integers likewise; 0 where the instruction set has none
  double seconds_to_measure;

  const ReadCeiling& read_of(std::int64_t working_set) const;
  std::int64_t last_cache_bytes() const;  // 0: no cache is known
};

Ceilings measure_ceilings(cpu::ThreadPool& pool);

}  // namespace octavo::bench
