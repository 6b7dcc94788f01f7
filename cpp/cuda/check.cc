#include "cuda/check.h"

namespace octavo::cuda {
namespace {

const char* remedy(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
      return "; there is no NVIDIA GPU that this process may use (see nvidia-smi and CUDA_VISIBLE_DEVICES); use --device cpu";
    case cudaErrorInsufficientDriver:
      return "; the NVIDIA driver is too old for this library, or missing: install driver 580 or newer, or use --device cpu";
    case cudaErrorNoKernelImageForDevice:
      return "; the library was built without this GPU's compute capability: rebuild with -DOCTAVO_CUDA_ARCHITECTURES naming it";
    case cudaErrorIllegalAddress:
    case cudaErrorECCUncorrectable:
      return "; the GPU's context is lost, so the process must end";
    default:
      return "";
  }
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is reported must not be found again by the next launch
  const std::string message = std::string(what) + ": " + cudaGetErrorString(status) + remedy(status);
  if (status == cudaErrorMemoryAllocation) {
    throw OutOfMemory(message + "; another process may hold memory, or --gpu-memory-utilization leaves too little room");
  }
  throw std::runtime_error(message);
}

}  // namespace octavo::cuda
