// Buffers of the sampler, one set per compute thread, taken for the time of one row. Memory is not touched before it is needed.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace octavo {

constexpr std::int64_t kWeightBlock = 1024;  // logits whose weights are summed together

struct Candidate {
  float value;  // logit
  std::int32_t id;
  float weight;
};

// The order of all rankings: higher logits first, the lower id first among equals.
inline bool ranks_before(const Candidate& a, const Candidate& b) { return a.value != b.value ? a.value > b.value : a.id < b.id; }

struct SampleBuffers {
  explicit SampleBuffers(std::int64_t vocab_size);

  std::unique_ptr<float[]> logits;          // [V] after masks and penalties
  std::unique_ptr<std::int32_t[]> allowed;  // [V] ids that a mask allows, where they are few
  std::unique_ptr<std::int32_t[]> ids;      // [V] candidates in order of id
  std::unique_ptr<float[]> values;          // [V]
  std::unique_ptr<float[]> weights;         // [V]
  std::unique_ptr<Candidate[]> ranked;      // [V] the same, reordered by a selection
  std::unique_ptr<double[]> block_weights;  // [ceil(V / kWeightBlock)]
  std::atomic<bool> taken{false};
};

class SampleWorkspace {
 public:
  SampleWorkspace(int num_threads, std::int64_t vocab_size);

  // At most num_threads leases live at a time, so one is always free.
  class Lease {
   public:
    explicit Lease(SampleWorkspace& workspace) : buffers_(workspace.take()) {}
    ~Lease() { buffers_.taken.store(false, std::memory_order_release); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    SampleBuffers& operator*() const { return buffers_; }

   private:
    SampleBuffers& buffers_;
  };

 private:
  SampleBuffers& take();
  std::vector<std::unique_ptr<SampleBuffers>> buffers_;
};

}  // namespace octavo
