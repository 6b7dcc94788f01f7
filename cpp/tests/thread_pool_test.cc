#include "cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

namespace octavo::cpu {
namespace {

Cores cores_of_this_thread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  Cores cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

TEST(ThreadPool, RunsEachTaskOnceEverWhenWorkersSleepInBetween) {
  ThreadPool pool(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> counts(1 + round % 7);
    pool.run(static_cast<std::int64_t>(counts.size()), [&](std::int64_t index) { ++counts[index]; });
    for (const std::atomic<int>& count : counts) EXPECT_EQ(count.load(), 1);
    if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// Whoever leads, each task of each of its jobs runs once, and finish() comes back after the last.
TEST(ThreadPool, AnyThreadMayLead) {
  ThreadPool pool(3);
  std::set<std::thread::id> leaders;
  for (int round = 0; round < 2000 && (round < 200 || leaders.size() < 2); ++round) {
    int num_jobs = 0;
    std::vector<std::atomic<int>> counts(7);
    const auto leader = [&](std::int64_t) {
      leaders.insert(std::this_thread::get_id());
      for (; num_jobs < 5; ++num_jobs) pool.run(7, [&](std::int64_t index) { ++counts[index]; });
    };
    pool.begin(leader);
    if (round % 3 == 0) std::this_thread::yield();
    if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pool.finish();
    EXPECT_EQ(num_jobs, 5);
    for (const std::atomic<int>& count : counts) EXPECT_EQ(count.load(), 5);
    if (round % 70 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));  // workers fall asleep
  }
}

TEST(ThreadPool, WithoutWorkersTheCallerLeads) {
  ThreadPool pool(1);
  std::thread::id led;
  const auto leader = [&](std::int64_t) { led = std::this_thread::get_id(); };
  pool.begin(leader);
  pool.finish();
  EXPECT_EQ(led, std::this_thread::get_id());
}

// The caller and each worker run where they were put; a thread that only builds the pool stays free.
TEST(ThreadPool, PutsEachThreadOnItsCores) {
  const Cores usable = cores_of_this_thread();
  const Cores first{usable.front()}, last{usable.back()};
  ThreadPool pool(2, {first, last});
  EXPECT_EQ(cores_of_this_thread(), usable);
  std::map<std::thread::id, Cores> seen;
  std::thread caller([&] {
    pool.place_caller();
    std::mutex mutex;
    std::atomic<int> arrived{0};
    pool.run(2, [&](std::int64_t) {
      for (++arrived; arrived < 2;) std::this_thread::yield();  // one task for each thread
      const std::lock_guard<std::mutex> lock(mutex);
      seen[std::this_thread::get_id()] = cores_of_this_thread();
    });
    EXPECT_EQ(seen[std::this_thread::get_id()], first);
  });
  caller.join();
  ASSERT_EQ(seen.size(), 2u);
  std::set<Cores> places;
  for (const auto& [thread, cores] : seen) places.insert(cores);
  EXPECT_EQ(places, (std::set<Cores>{first, last}));
}

TEST(ThreadPool, RefusesAnAffinityThatDoesNotFit) {
  EXPECT_THROW(ThreadPool(2, {cores_of_this_thread()}), std::invalid_argument);
  EXPECT_THROW(ThreadPool(1, {{}}), std::invalid_argument);
  EXPECT_THROW(ThreadPool(1, {{1 << 14}}), std::invalid_argument);
  EXPECT_THROW(ThreadPool(1, {{-1}}), std::invalid_argument);
}

int memory_policy_of_this_thread() {
  int policy = -1;
  syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0);
  return policy;
}

TEST(Affinity, MemoryIsBoundForThisThreadAndThoseItStarts) {
  if (memory_policy_of_this_thread() != 0) GTEST_SKIP() << "this kernel has no NUMA policies, or the process has one already";
  int own = -1, inherited = -1;
  std::thread([&] {
    bind_memory_to_node(0);
    own = memory_policy_of_this_thread();
    std::thread([&] { inherited = memory_policy_of_this_thread(); }).join();
  }).join();
  EXPECT_EQ(own, 2);
  EXPECT_EQ(inherited, 2);
  EXPECT_EQ(memory_policy_of_this_thread(), 0);
}

TEST(Affinity, ANodeThatDoesNotExistIsRefused) {
  EXPECT_THROW(bind_memory_to_node(1000), std::invalid_argument);
  EXPECT_THROW(bind_memory_to_node(-1), std::invalid_argument);
}

}  // namespace
}  // namespace octavo::cpu
