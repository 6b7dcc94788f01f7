#include "bench/harness.h"

#include <algorithm>
#include <random>

#include "weights/quantized_group.h"

namespace octavo::bench {
namespace {

struct Machine {
  explicit Machine(int num_threads) : pool(num_threads), ceilings(measure_ceilings(pool)) {}
  cpu::ThreadPool pool;
  Ceilings ceilings;
};

std::unique_ptr<Machine>& machine() {
  static std::unique_ptr<Machine> only;
  return only;
}

constexpr std::int64_t kMinUncachedBytes = std::int64_t{96} << 20;

}  // namespace

void set_up(int num_threads) { machine() = std::make_unique<Machine>(num_threads); }
cpu::ThreadPool& pool() { return machine()->pool; }
const Ceilings& ceilings() { return machine()->ceilings; }

std::int64_t uncached_bytes() { return std::max(kMinUncachedBytes, 2 * ceilings().last_cache_bytes()); }

std::vector<float> normal_floats(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(generator);
  return values;
}

std::vector<std::uint8_t> random_blocks(Format format, std::int64_t num_elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(format_bytes(format, num_elements)));
  std::mt19937 generator(7);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator() & 0x3b);
  for (std::size_t i = 1; i < bytes.size(); i += 2) bytes[i] |= 0x20;
  return bytes;
}

void report(benchmark::State& state, const Work& work, double seconds) {
  const double giga_per_s = 1e-9 * static_cast<double>(state.iterations()) / seconds;
  if (work.bytes > 0.0) {
    const ReadCeiling& read = ceilings().read_of(static_cast<std::int64_t>(work.working_set > 0.0 ? work.working_set : work.bytes));
    state.counters["GB/s"] = work.bytes * giga_per_s;
    state.counters["% of " + read.name] = 100.0 * work.bytes * giga_per_s / read.gb_per_s;
  }
  if (work.operations > 0.0) {
    const bool int8 = work.peak == Peak::int8;
    const double ceiling = int8 ? ceilings().int8_gop_per_s : ceilings().fma_gflop_per_s;
    state.counters[int8 ? "GOP/s" : "GFLOP/s"] = work.operations * giga_per_s;
    if (ceiling > 0.0) state.counters[int8 ? "% of int8 dot" : "% of fp32 FMA"] = 100.0 * work.operations * giga_per_s / ceiling;
  }
}

}  // namespace octavo::bench
