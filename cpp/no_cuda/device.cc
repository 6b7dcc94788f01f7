#include "cuda/device.h"

#include <stdexcept>

namespace octavo::cuda {

bool is_built() { return false; }

int num_devices() { throw std::runtime_error("this build has no CUDA kernels; build with -DOCTAVO_CUDA=ON"); }

}  // namespace octavo::cuda
