// What the benchmarks share: the pool, the machine's ceilings, inputs, and the figures that each benchmark reports.
//
// A benchmark states the work of one iteration (Work) and hands measure() the call. The counters are then GB/s and GFLOP/s, each
// with its share of the ceiling that bounds it: "% of memory read" (or of the cache that holds the working set), "% of fp32 FMA".
#pragma once
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "bench/ceilings.h"
#include "cpu/thread_pool.h"
#include "weights/format.h"

namespace octavo::bench {

void set_up(int num_threads);  // builds the pool and measures the ceilings: once, before a benchmark runs
cpu::ThreadPool& pool();
const Ceilings& ceilings();

// More bytes than the caches hold: what a benchmark walks through so that each iteration reads from memory.
std::int64_t uncached_bytes();

std::vector<float> normal_floats(std::int64_t count);  // the same at every call
// Random blocks of whichever format. Scales and weights are small finite numbers, none of them subnormal: processors take many times as
// long over those.
std::vector<std::uint8_t> random_blocks(Format format, std::int64_t num_elements);

enum class Peak { fp32, int8 };  // whose ceiling the operations are compared with

// One iteration.
struct Work {
  double bytes = 0.0;        // read and written; 0: not reported
  double operations = 0.0;   // a multiplication and an addition are two; 0: not reported
  double working_set = 0.0;  // bytes touched before the same ones are touched again; 0: `bytes`
  Peak peak = Peak::fp32;
};

void report(benchmark::State& state, const Work& work, double seconds);

// Runs the benchmark's loop around body() and reports.
template <typename Body>
void measure(benchmark::State& state, const Work& work, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) body();
  report(state, work, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

// The T of these arguments. Google Benchmark enters a function once for each trial of one figure: what was made last is kept.
template <typename T, typename... Args>
T& kept(const Args&... args) {
  static std::optional<std::tuple<Args...>> made_of;
  static std::unique_ptr<T> object;
  if (!object || made_of != std::make_tuple(args...)) {
    object.reset();
    object = std::make_unique<T>(args...);
    made_of = std::make_tuple(args...);
  }
  return *object;
}

}  // namespace octavo::bench
