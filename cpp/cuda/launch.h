// Kernel launches that may begin before the launch ahead of them has ended (programmatic dependent launch, compute capability 9.0):
// blocks start, fetch what no kernel of the step writes (weights, tables), and wait for the earlier launch where they need its results.
//
//   host    launch_kernel(kernel, grid, threads, shared_bytes, stream, arguments...)
//   device  let_next_start(); ... reads of weights ...; wait_for_previous(); ... everything else ...
//
// A kernel launched so must call wait_for_previous() in every thread, whatever the thread does, before it reads what an earlier launch
// writes and before it writes anything: only so does its end imply the end of all launches before it.
// Source: CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization".
#pragma once
#include "cuda/check.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

#if defined(__CUDACC__)

// The next launch may start once every block of this one has called it or has ended.
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Returns when the launches ahead have ended and what they wrote can be seen.
__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#endif

// Whether this process's GPU runs code of this library that was compiled for 9.0 or newer: code for an older one does not wait.
bool starts_early();

template <typename... Parameters, typename... Arguments>
void launch_kernel(void (*kernel)(Parameters...), dim3 grid, unsigned threads, std::size_t shared_bytes, Stream stream,
                   Arguments&&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = starts_early() ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "a kernel's launch");
}

}  // namespace octavo::cuda
