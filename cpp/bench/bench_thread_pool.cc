// What handing work to the pool costs: a run of trivial tasks while the workers spin, and after they have gone to sleep.
#include <atomic>
#include <thread>

#include "bench/harness.h"

namespace octavo::bench {
namespace {

std::atomic<std::int64_t> sink{0};

void run_once(std::int64_t num_tasks) {
  pool().run(num_tasks, [](std::int64_t index) { sink.fetch_add(index, std::memory_order_relaxed); });
}

void bench_spinning(benchmark::State& state) {
  const std::int64_t num_tasks = state.range(0);
  for (auto _ : state) run_once(num_tasks);
}

void bench_sleeping(benchmark::State& state) {
  const std::int64_t num_tasks = state.range(0);
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto start = std::chrono::steady_clock::now();
    run_once(num_tasks);
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
}

BENCHMARK(bench_spinning)->Name("thread_pool/spinning")->ArgName("tasks")->UseRealTime()->Arg(2)->Arg(64);
BENCHMARK(bench_sleeping)->Name("thread_pool/sleeping")->ArgName("tasks")->UseManualTime()->Iterations(200)->Arg(2)->Arg(64);

}  // namespace
}  // namespace octavo::bench
