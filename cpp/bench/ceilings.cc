#include "bench/ceilings.h"

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>

#include "bench/peaks.h"
#include "cpu/huge_pages.h"
#include "cpu/isa.h"

namespace octavo::bench {
namespace {

constexpr int kMinRounds = 5;
constexpr double kMinSeconds = 0.15;                               // for each ceiling
constexpr std::int64_t kMinMemoryBytes = std::int64_t{256} << 20;  // and at least four times the last cache
constexpr std::int64_t kCacheReadBytes = std::int64_t{32} << 20;   // in a round, each thread
constexpr std::int64_t kPiece = std::int64_t{1} << 20;             // memory is handed out in these
constexpr std::int64_t kReadGranule = 2048;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Calls round() again and again; the best of what it returns, because noise only ever slows down.
template <typename F>
double best_of_rounds(F&& round) {
  const Clock::time_point start = Clock::now();
  double best = 0.0;
  for (int rounds = 0; rounds < kMinRounds || seconds_since(start) < kMinSeconds; ++rounds) best = std::max(best, round());
  return best;
}

double thread_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double memory_rate(cpu::ThreadPool& pool, const std::uint8_t* memory, std::int64_t size) {
  const auto read = peaks(cpu::active_isa()).read;
  std::atomic<std::int64_t> sink{0};
  return best_of_rounds([&] {
    const Clock::time_point start = Clock::now();
    pool.run(size / kPiece, [&](std::int64_t piece) { sink += read(memory + piece * kPiece, static_cast<std::size_t>(kPiece)); });
    return 1e-9 * static_cast<double>(size) / seconds_since(start);
  });
}

// What all threads do together, each `work` in body(thread). Of what threads do not share: time in which another process has the core
// does not count.
template <typename F>
double rate_of_threads(cpu::ThreadPool& pool, double work, F&& body) {
  std::atomic<std::int64_t> sink{0};
  std::vector<double> rates(static_cast<std::size_t>(pool.num_threads()));
  return best_of_rounds([&] {
    pool.run(pool.num_threads(), [&](std::int64_t thread) {
      const double start = thread_seconds();
      sink += body(thread);
      rates[static_cast<std::size_t>(thread)] = 1e-9 * work / (thread_seconds() - start);
    });
    return std::accumulate(rates.begin(), rates.end(), 0.0);
  });
}

// Each thread reads its own `size` bytes again and again.
double cache_rate(cpu::ThreadPool& pool, const std::uint8_t* memory, std::int64_t size) {
  const auto read = peaks(cpu::active_isa()).read;
  const std::int64_t repeats = std::max<std::int64_t>(1, kCacheReadBytes / size);
  return rate_of_threads(pool, static_cast<double>(repeats * size), [&](std::int64_t thread) {
    std::int64_t sum = 0;
    for (std::int64_t repeat = 0; repeat < repeats; ++repeat) sum += read(memory + thread * size, static_cast<std::size_t>(size));
    return sum;
  });
}

double peak_rate(cpu::ThreadPool& pool, const Peak& peak) {
  constexpr std::int64_t kRepeats = 1'000'000;
  if (!peak.run) return 0.0;
  return rate_of_threads(pool, peak.operations_per_repeat * kRepeats, [&](std::int64_t) { return peak.run(kRepeats); });
}

// Caches of data, fastest first, with the bytes that all threads together can keep in them.
std::vector<ReadCeiling> data_caches(int num_threads) {
  std::vector<ReadCeiling> caches;
  for (const benchmark::CPUInfo::CacheInfo& cache : benchmark::CPUInfo::Get().caches) {
    if (cache.type == "Instruction") continue;
    const int sharing = std::max(1, cache.num_sharing), count = (num_threads + sharing - 1) / sharing;
    caches.push_back({"L" + std::to_string(cache.level) + " read", std::int64_t{cache.size} * count, 0.0});
  }
  return caches;
}

std::vector<ReadCeiling> measure_reads(cpu::ThreadPool& pool, double* one_thread) {
  std::vector<ReadCeiling> reads = data_caches(pool.num_threads());
  const std::int64_t last_cache = reads.empty() ? 0 : reads.back().max_bytes;
  const std::int64_t size = std::max(kMinMemoryBytes, 4 * last_cache / kPiece * kPiece);
  const std::shared_ptr<std::uint8_t> owner = cpu::huge_page_memory(size);  // as weights are
  std::uint8_t* const memory = owner.get();
  pool.run(size / kPiece, [&](std::int64_t piece) { std::memset(memory + piece * kPiece, 1, static_cast<std::size_t>(kPiece)); });
  for (ReadCeiling& cache : reads) {
    const std::int64_t half_each = cache.max_bytes / 2 / pool.num_threads() / kReadGranule * kReadGranule;
    cache.gb_per_s = cache_rate(pool, memory, half_each);
  }
  reads.push_back({"memory read", std::numeric_limits<std::int64_t>::max(), memory_rate(pool, memory, size)});
  cpu::ThreadPool alone(1);
  *one_thread = memory_rate(alone, memory, size);
  return reads;
}

}  // namespace

const ReadCeiling& Ceilings::read_of(std::int64_t working_set) const {
  return *std::find_if(reads.begin(), reads.end(), [&](const ReadCeiling& read) { return working_set <= read.max_bytes; });
}

std::int64_t Ceilings::last_cache_bytes() const { return reads.size() < 2 ? 0 : reads[reads.size() - 2].max_bytes; }

Ceilings measure_ceilings(cpu::ThreadPool& pool) {
  const Clock::time_point start = Clock::now();
  const Peaks& all = peaks(cpu::active_isa());
  Ceilings ceilings{};
  ceilings.reads = measure_reads(pool, &ceilings.memory_gb_per_s_one_thread);
  ceilings.fma_gflop_per_s = peak_rate(pool, all.fma);
  ceilings.int8_gop_per_s = peak_rate(pool, all.int8_dot);
  ceilings.seconds_to_measure = seconds_since(start);
  return ceilings;
}

}  // namespace octavo::bench
