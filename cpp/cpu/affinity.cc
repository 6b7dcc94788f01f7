#include "cpu/affinity.h"

#include "base/error.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace octavo::cpu {
namespace {

constexpr int kMaxCores = 1 << 16;
constexpr int kBindPolicy = 2;  // MPOL_BIND of linux/mempolicy.h
constexpr int kWordBits = 8 * sizeof(unsigned long);

// A processor mask of any machine's size: cpu_set_t itself ends at 1024.
class Mask {
 public:
  Mask() : set_(CPU_ALLOC(kMaxCores)) { CPU_ZERO_S(size(), set_.get()); }
  static std::size_t size() { return CPU_ALLOC_SIZE(kMaxCores); }
  cpu_set_t* get() const { return set_.get(); }
  void add(int core) { CPU_SET_S(core, size(), set_.get()); }
  bool has(int core) const { return core >= 0 && core < kMaxCores && CPU_ISSET_S(core, size(), set_.get()); }

 private:
  struct Free {
    void operator()(cpu_set_t* set) const { CPU_FREE(set); }
  };
  std::unique_ptr<cpu_set_t, Free> set_;
};

}  // namespace

void require_usable(const Cores& cores) {
  Mask usable;
  require(sched_getaffinity(0, Mask::size(), usable.get()) == 0, "affinity: ", std::strerror(errno));
  require(!cores.empty(), "affinity: a thread has no core");
  for (int core : cores) require(usable.has(core), "affinity: core ", core, " does not exist, or this process may not use it");
}

void run_on(const Cores& cores) {
  Mask mask;
  for (int core : cores) mask.add(core);
  sched_setaffinity(0, Mask::size(), mask.get());  // cores taken away since require_usable(): the thread stays where it may run
}

void bind_memory_to_node(int node) {
  require(node >= 0, "NUMA node ", node, " is negative");
  std::vector<unsigned long> nodes(static_cast<std::size_t>(node / kWordBits) + 1);
  nodes.back() = 1ul << (node % kWordBits);
  // The kernel reads one bit less than it is told.
  const long done = syscall(SYS_set_mempolicy, kBindPolicy, nodes.data(), nodes.size() * kWordBits + 1);
  require(done == 0, "memory cannot be bound to NUMA node ", node, ": ", std::strerror(errno),
          errno == EPERM ? "; a container needs the capability SYS_NICE for it" : "");
}

}  // namespace octavo::cpu

#else

namespace octavo::cpu {

void require_usable(const Cores&) { require(false, "affinity: threads can be placed on Linux only"); }
void run_on(const Cores&) {}
void bind_memory_to_node(int) { require(false, "memory can be bound to a NUMA node on Linux only"); }

}  // namespace octavo::cpu
#endif
