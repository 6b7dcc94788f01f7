// Compute threads of the data plane: the caller and `num_threads - 1` workers that spin briefly for the next job, then sleep.
//
// `run(num_tasks, task)` calls task(index) once for each index below num_tasks and returns when all are done. Each thread
// starts on a run of neighbouring tasks and then helps the others, so which thread computes what varies: a task's result must not
// depend on the thread. One caller at a time; calls do not nest. A task must not throw.
//
// A caller that is about to lose its core (because it lets go of the GIL, say) need not hold up a sequence of runs. It puts the sequence
// into one function, the leader, and hands it over with `begin(leader)`. The first thread that is free calls the leader: a worker that is
// awake, or the caller itself in `finish()`. Every other thread helps with the tasks of the leader's runs.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "cpu/affinity.h"

namespace octavo::cpu {

// A non-owning reference to a callable: two words, no allocation.
class TaskRef {
 public:
  TaskRef() = default;
  template <typename F>
  TaskRef(const F& function)
      : object_(&function), call_([](const void* object, std::int64_t index) { (*static_cast<const F*>(object))(index); }) {}
  void operator()(std::int64_t index) const { call_(object_, index); }

 private:
  const void* object_ = nullptr;
  void (*call_)(const void*, std::int64_t) = nullptr;
};

class ThreadPool {
 public:
  // num_threads >= 1. affinity: the cores of each thread, the caller's first; empty: wherever the system puts them. Throws
  // std::invalid_argument when it has another number of threads or names a core that this process may not use, std::runtime_error when a
  // thread does not start.
  explicit ThreadPool(int num_threads, std::vector<Cores> affinity = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;
  void run(std::int64_t num_tasks, TaskRef task);
  // begin() offers leader(0) to the workers; one thread calls it, once. It may call run() and must not throw. finish() returns when the
  // leader has returned. Between the two no other thread may call run().
  void begin(TaskRef leader);
  void finish();
  // Puts the calling thread, the one that calls run(), on the caller's cores. Does nothing without an affinity.
  void place_caller() const;

  // Memory for the op that is running: at least num_bytes, aligned to 64, until the next call. Allocates only to grow.
  std::uint8_t* scratch(std::int64_t num_bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octavo::cpu
