#include "cpu/thread_pool.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo::cpu {
namespace {

constexpr int kSpins = 20000;  // about 0.2 to 0.5 ms: longer than the pause between two ops, shorter than one between two steps

thread_local int own_lane = 0;  // a worker's; any other thread that runs or helps has the first

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// A thread's own run of a job's tasks. `ticket` packs (job number, next task) so that a worker that wakes late can never take a task
// of another job: taking is a compare-and-swap on both at once.
struct alignas(64) Lane {
  std::atomic<std::uint64_t> ticket{0};
  std::atomic<std::int64_t> end{0};
};

enum class Lead { none, offered, taken };

// One job at a time. Every thread takes the tasks of its own lane in order, so that it walks through memory in order, and then
// helps with the other lanes.
struct ThreadPool::State {
  std::unique_ptr<std::uint8_t, void (*)(void*)> scratch{nullptr, std::free};
  std::int64_t scratch_bytes = 0;
  std::vector<std::thread> workers;
  std::vector<Cores> affinity;
  std::unique_ptr<Lane[]> lanes;
  int num_lanes = 1;
  std::atomic<std::uint32_t> job{0};
  std::atomic<std::int64_t> num_done{0};
  std::atomic<const TaskRef*> task{nullptr};
  TaskRef leader;
  std::atomic<Lead> lead{Lead::none};
  std::atomic<bool> stopping{false};
  std::atomic<int> num_sleeping{0};
  std::mutex mutex;
  std::condition_variable wake;
  const pid_t process = getpid();

  static std::uint32_t job_of(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

  // Takes tasks of job `wanted` until none is left, those of this thread's lane first.
  void work(std::uint32_t wanted) {
    for (int i = 0; i < num_lanes; ++i) empty(lanes[(own_lane + i) % num_lanes], wanted);
  }

  // Calls the leader if one is offered and no other thread has taken it. Returns whether this thread called it.
  bool take_lead() {
    Lead seen = Lead::offered;
    if (!lead.compare_exchange_strong(seen, Lead::taken, std::memory_order_acquire)) return false;
    leader(0);
    lead.store(Lead::none, std::memory_order_release);
    return true;
  }

  void empty(Lane& lane, std::uint32_t wanted) {
    std::uint64_t seen = lane.ticket.load(std::memory_order_acquire);
    while (job_of(seen) == wanted) {
      const auto index = static_cast<std::int64_t>(seen & 0xffffffffu);
      if (index >= lane.end.load(std::memory_order_relaxed)) return;
      const TaskRef* current = task.load(std::memory_order_relaxed);
      if (!lane.ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
      (*current)(index);
      num_done.fetch_add(1, std::memory_order_release);
      seen = lane.ticket.load(std::memory_order_acquire);
    }
  }

  // Lanes without tasks come first: a thread still holding a ticket can no longer take from a lane while the fields change.
  std::uint32_t open_job(std::int64_t num_tasks, const TaskRef& body) {
    const std::uint32_t closed = job.load() + 1, opened = closed + 1;
    for (int i = 0; i < num_lanes; ++i) lanes[i].ticket.store((static_cast<std::uint64_t>(closed) << 32) | 0xffffffffu);
    num_done.store(0, std::memory_order_relaxed);
    task.store(&body, std::memory_order_relaxed);
    for (int i = 0; i < num_lanes; ++i) lanes[i].end.store((i + 1) * num_tasks / num_lanes, std::memory_order_relaxed);
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(num_lanes); ++i) {
      lanes[i].ticket.store((static_cast<std::uint64_t>(opened) << 32) | (i * num_tasks / num_lanes));
    }
    job.store(opened);
    return opened;
  }

  // Waits until there is a job other than `last`, a leader is offered, or the pool stops. A sleeping worker is woken for a job but not for
  // a leader: the thread that would wake it can call the leader sooner itself.
  std::uint32_t await_job(std::uint32_t last) {
    for (int spin = 0; spin < kSpins; ++spin) {
      const std::uint32_t now = job.load(std::memory_order_acquire);
      if (now != last || lead.load(std::memory_order_relaxed) == Lead::offered || stopping.load(std::memory_order_relaxed)) return now;
      relax();
    }
    std::unique_lock<std::mutex> lock(mutex);
    num_sleeping.fetch_add(1);
    wake.wait(lock, [&] { return job.load() != last || stopping.load(); });
    num_sleeping.fetch_sub(1);
    return job.load();
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void worker_loop(int lane) {
    own_lane = lane;
    std::uint32_t last = 0;
    while (true) {
      last = await_job(last);
      if (stopping.load()) return;
      if (!take_lead()) work(last);
    }
  }
};

ThreadPool::ThreadPool(int num_threads, std::vector<Cores> affinity) : state_(std::make_unique<State>()) {
  require(num_threads >= 1, "threads is ", num_threads, "; it must be at least 1");
  require(affinity.empty() || affinity.size() == static_cast<std::size_t>(num_threads), "affinity: cores for ", affinity.size(),
          " threads, expected ", num_threads);
  for (const Cores& cores : affinity) require_usable(cores);
  state_->affinity = std::move(affinity);
  state_->num_lanes = num_threads;
  state_->lanes = std::make_unique<Lane[]>(static_cast<std::size_t>(num_threads));
  state_->workers.reserve(static_cast<std::size_t>(num_threads));
  try {
    for (int index = 1; index < num_threads; ++index) {
      state_->workers.emplace_back([state = state_.get(), index] {
        if (!state->affinity.empty()) run_on(state->affinity[index]);
        state->worker_loop(index);
      });
    }
  } catch (const std::exception& error) {  // a thread object that still runs would end the process when it is destroyed
    const std::size_t num_started = state_->workers.size() + 1;
    state_->stop();
    throw std::runtime_error("only " + std::to_string(num_started) + " of " + std::to_string(num_threads) +
                             " compute threads could be started (" + error.what() +
                             "); lower the number of threads or raise the limits of the process");
  }
}

// A forked child has no workers to join, and the mutex may be as one of them left it: there the state is left alone.
ThreadPool::~ThreadPool() {
  if (getpid() == state_->process) {
    state_->stop();
  } else {
    static_cast<void>(state_.release());
  }
}

void ThreadPool::place_caller() const {
  if (!state_->affinity.empty()) run_on(state_->affinity.front());
}

int ThreadPool::num_threads() const { return static_cast<int>(state_->workers.size()) + 1; }

std::uint8_t* ThreadPool::scratch(std::int64_t num_bytes) {
  State& state = *state_;
  if (num_bytes > state.scratch_bytes) {
    const std::int64_t rounded = (num_bytes + 63) / 64 * 64;
    state.scratch.reset(static_cast<std::uint8_t*>(std::aligned_alloc(64, static_cast<std::size_t>(rounded))));
    if (!state.scratch) throw std::bad_alloc();
    state.scratch_bytes = rounded;
  }
  return state.scratch.get();
}

void ThreadPool::run(std::int64_t num_tasks, TaskRef task) {
  if (num_tasks <= 1 || state_->workers.empty()) {
    for (std::int64_t index = 0; index < num_tasks; ++index) task(index);
    return;
  }
  State& state = *state_;
  const std::uint32_t job = state.open_job(num_tasks, task);
  if (state.num_sleeping.load() > 0) {
    {
      std::lock_guard<std::mutex> lock(state.mutex);
    }  // a worker about to sleep sees the new job or is waiting by now
    state.wake.notify_all();
  }
  state.work(job);
  while (state.num_done.load(std::memory_order_acquire) < num_tasks) relax();
}

void ThreadPool::begin(TaskRef leader) {
  state_->leader = leader;
  state_->lead.store(Lead::offered, std::memory_order_release);
}

void ThreadPool::finish() {
  State& state = *state_;
  if (state.take_lead()) return;
  std::uint32_t last = 0;
  while (state.lead.load(std::memory_order_acquire) != Lead::none) {
    const std::uint32_t now = state.job.load(std::memory_order_acquire);
    if (now != last) state.work(now);
    last = now;
    relax();
  }
}

}  // namespace octavo::cpu
