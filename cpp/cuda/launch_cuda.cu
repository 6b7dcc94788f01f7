#include "cuda/launch.h"

namespace octavo::cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

bool starts_early() {
  static const bool known = [] {
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, probe_kernel), "a kernel's attributes");
    return attributes.ptxVersion >= 90;
  }();
  return known;
}

}  // namespace octavo::cuda
