// octavo-bench: times the data plane's ops (Google Benchmark). bench_*.cc hold one family each.
//
// The machine's ceilings are measured first and go into the context of the output, so that every figure can be read as a share of
// what this machine can do. tools/bench/compare.py compares two files of --benchmark_out.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>

#include "bench/harness.h"
#include "cpu/isa.h"

namespace {

void print_help() {
  std::puts("octavo-bench [--threads N]    compute threads; default: the cores this process may use");
  benchmark::PrintDefaultHelp();
}

// Takes `--threads N` or `--threads=N` out of the arguments. 0 where they have none or one that is no count.
int take_threads(int* argc, char** argv) {
  int num_threads = static_cast<int>(std::thread::hardware_concurrency()), kept = 1;
  for (int index = 1; index < *argc; ++index) {
    if (std::strncmp(argv[index], "--threads=", 10) == 0) {
      num_threads = std::atoi(argv[index] + 10);
    } else if (std::strcmp(argv[index], "--threads") == 0 && index + 1 < *argc) {
      num_threads = std::atoi(argv[++index]);
    } else {
      argv[kept++] = argv[index];
    }
  }
  *argc = kept;
  return num_threads;
}

void add_context(const char* name, double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  benchmark::AddCustomContext(name, text);
}

void add_machine_to_context() {
  const octavo::bench::Ceilings& ceilings = octavo::bench::ceilings();
  benchmark::AddCustomContext("octavo_isa", octavo::cpu::name_of(octavo::cpu::active_isa()));
  benchmark::AddCustomContext("threads", std::to_string(octavo::bench::pool().num_threads()));
  for (const octavo::bench::ReadCeiling& read : ceilings.reads) add_context(("ceiling " + read.name + " GB/s").c_str(), read.gb_per_s);
  add_context("ceiling memory read, one thread, GB/s", ceilings.memory_gb_per_s_one_thread);
  add_context("ceiling fp32 FMA GFLOP/s", ceilings.fma_gflop_per_s);
  if (ceilings.int8_gop_per_s > 0.0) add_context("ceiling int8 dot GOP/s", ceilings.int8_gop_per_s);
  add_context("seconds to measure ceilings", ceilings.seconds_to_measure);
}

}  // namespace

int main(int argc, char** argv) {
  const int num_threads = take_threads(&argc, argv);
  benchmark::Initialize(&argc, argv, print_help);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    octavo::bench::set_up(num_threads);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "octavo-bench: %s\n", error.what());
    return 2;
  }
  add_machine_to_context();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
