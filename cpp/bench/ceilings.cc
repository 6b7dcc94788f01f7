#include "bench/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

#include "bench/fma_peak.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace octavo::bench {
namespace {

constexpr int kRounds = 5;                                    // the best of them: noise only ever slows down
constexpr std::int64_t kReadBytes = std::int64_t{512} << 20;  // several times any last-level cache
constexpr std::int64_t kChunk = std::int64_t{1} << 20;

template <typename F>
double best_seconds(F&& work) {
  double best = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

double read_rate(cpu::ThreadPool& pool) {
  const std::int64_t words = kReadBytes / 8;
  const std::unique_ptr<std::uint64_t[]> memory(new std::uint64_t[words]);
  std::fill_n(memory.get(), words, 1);
  std::atomic<std::uint64_t> sink{0};
  const double seconds = best_seconds([&] {
    pool.run(kReadBytes / kChunk, [&](std::int64_t chunk) {
      const std::uint64_t* from = memory.get() + chunk * (kChunk / 8);
      std::uint64_t lanes[8] = {};
      for (std::int64_t word = 0; word < kChunk / 8; word += 8) {
        for (int lane = 0; lane < 8; ++lane) lanes[lane] += from[word + lane];
      }
      sink += lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4] ^ lanes[5] ^ lanes[6] ^ lanes[7];
    });
  });
  return kReadBytes / seconds * 1e-9;
}

double fma_rate(cpu::ThreadPool& pool) {
  constexpr std::int64_t kRepeats = 2'000'000;
  const FmaPeak& peak = fma_peak(cpu::active_isa());
  std::atomic<std::int64_t> sink{0};
  const double seconds =
      best_seconds([&] { pool.run(pool.num_threads(), [&](std::int64_t) { sink += static_cast<std::int64_t>(peak.run(kRepeats)); }); });
  return static_cast<double>(peak.flops_per_repeat) * kRepeats * pool.num_threads() / seconds * 1e-9;
}

}  // namespace

Ceilings measure_ceilings() {
  const int num_threads = std::max(1u, std::thread::hardware_concurrency());
  cpu::ThreadPool pool(num_threads);
  return {num_threads, read_rate(pool), fma_rate(pool)};
}

}  // namespace octavo::bench
