// Memory and events that free themselves. Sizes count bytes; memory is not cleared.
#pragma once
#include <cstddef>
#include <memory>

#include "cuda/check.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

struct FreeDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct FreePinned {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};

template <typename T>
using DeviceArray = std::unique_ptr<T[], FreeDevice>;
template <typename T>
using PinnedArray = std::unique_ptr<T[], FreePinned>;

// `what` names the memory in the error when there is none left.
template <typename T>
DeviceArray<T> device_array(std::size_t count, const char* what) {
  void* memory = nullptr;
  if (count > 0) check(cudaMalloc(&memory, count * sizeof(T)), what);
  return DeviceArray<T>(static_cast<T*>(memory));
}

template <typename T>
PinnedArray<T> pinned_array(std::size_t count, const char* what) {
  void* memory = nullptr;
  if (count > 0) check(cudaMallocHost(&memory, count * sizeof(T)), what);
  return PinnedArray<T>(static_cast<T*>(memory));
}

// Marks a place in a stream. wait() returns at once while nothing was recorded.
class Mark {
 public:
  Mark() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  ~Mark() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Mark(Mark&& other) noexcept : event_(other.event_) { other.event_ = nullptr; }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  void record(Stream stream) { check(cudaEventRecord(event_, stream), "event"); }
  void wait() const { check(cudaEventSynchronize(event_), "a step on the GPU"); }

 private:
  Event event_ = nullptr;
};

}  // namespace octavo::cuda
