// Errors of the runtime as exceptions that say which call failed and what to do about it.
#pragma once
#include <new>
#include <stdexcept>
#include <string>

#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// The device has no memory left for what was asked. Python sees MemoryError.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

// Throws OutOfMemory or std::runtime_error, naming `what`, unless the status is success.
void check(cudaError_t status, const char* what);

// After a kernel launch: throws when it could not be queued.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace octavo::cuda
