// octavo-bench: times the data plane's ops (Google Benchmark). bench_*.cc hold one family each.
//
// The machine's ceilings are measured first and printed, and go into the JSON context, so that a figure can be read as a share
// of what this machine can do: memory read bandwidth and fused multiply-add rate, one thread and all.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>

#include "bench/ceilings.h"
#include "cpu/isa.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const octavo::bench::Ceilings ceilings = octavo::bench::measure_ceilings();
  benchmark::AddCustomContext("octavo_isa", octavo::cpu::name_of(octavo::cpu::active_isa()));
  benchmark::AddCustomContext("threads", std::to_string(ceilings.num_threads));
  benchmark::AddCustomContext("read_gb_per_s", std::to_string(ceilings.read_gb_per_s));
  benchmark::AddCustomContext("fma_gflop_per_s", std::to_string(ceilings.fma_gflop_per_s));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
