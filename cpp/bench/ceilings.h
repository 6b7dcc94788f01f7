// What this machine can do at most, measured at start: the denominators of every figure of octavo-bench.
#pragma once

namespace octavo::bench {

struct Ceilings {
  int num_threads;         // those of the benchmarks: all cores this process may use
  double read_gb_per_s;    // sequential read of memory that no cache holds, all threads
  double fma_gflop_per_s;  // float32 fused multiply-adds in registers, all threads, the active instruction set
};

Ceilings measure_ceilings();

}  // namespace octavo::bench
