// CUDA devices that this build can use. cuda/ implements it with the CUDA runtime, no_cuda/ without: CMake takes one of the two.
#pragma once

namespace octavo::cuda {

bool is_built();    // whether CUDA kernels are in this build
int num_devices();  // devices that the driver shows; throws std::runtime_error in a build without CUDA

}  // namespace octavo::cuda
