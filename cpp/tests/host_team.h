// A team of host threads that runs what a block of a GPU runs (sampling/device_select.h): every thread is a warp of one lane.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace octavo {

class Barrier {
 public:
  explicit Barrier(int num_threads) : num_threads_(num_threads) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const std::int64_t round = round_;
    if (++num_waiting_ == num_threads_) {
      num_waiting_ = 0;
      ++round_;
      everyone_.notify_all();
    } else {
      everyone_.wait(lock, [&] { return round_ != round; });
    }
  }

 private:
  int num_threads_, num_waiting_ = 0;
  std::int64_t round_ = 0;
  std::mutex mutex_;
  std::condition_variable everyone_;
};

class HostTeam {
 public:
  HostTeam(int thread, int num_threads, Barrier* barrier) : thread_(thread), num_threads_(num_threads), barrier_(barrier) {}

  int thread() const { return thread_; }
  int num_threads() const { return num_threads_; }
  int lane() const { return 0; }
  int warp_width() const { return 1; }
  int warp() const { return thread_; }
  int num_warps() const { return num_threads_; }
  void sync() { barrier_->wait(); }
  std::uint64_t warp_sum(std::uint64_t x) const { return x; }
  double warp_sum(double x) const { return x; }
  std::uint64_t warp_max(std::uint64_t x) const { return x; }
  std::uint32_t atomic_add(std::uint32_t* to, std::uint32_t x) const { return __atomic_fetch_add(to, x, __ATOMIC_RELAXED); }
  void atomic_add(std::uint64_t* to, std::uint64_t x) const { __atomic_fetch_add(to, x, __ATOMIC_RELAXED); }

  // Runs f(team) on num_threads threads and waits for them.
  static void run(int num_threads, const std::function<void(HostTeam&)>& f) {
    Barrier barrier(num_threads);
    std::vector<std::thread> threads;
    for (int thread = 1; thread < num_threads; ++thread) {
      threads.emplace_back([&, thread] {
        HostTeam team(thread, num_threads, &barrier);
        f(team);
      });
    }
    HostTeam team(0, num_threads, &barrier);
    f(team);
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int thread_, num_threads_;
  Barrier* barrier_;
};

}  // namespace octavo
