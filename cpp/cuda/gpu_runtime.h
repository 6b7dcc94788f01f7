// The one place that includes the vendor's runtime: our kernels and launches name only what this header gives.
//
// The names are CUDA's. A HIP build maps them here and nowhere else.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#if defined(__CUDACC__)
#include <mma.h>  // tensor cores through the warp matrix API, which other vendors offer too
#endif

namespace octavo::cuda {

using Stream = cudaStream_t;
using Event = cudaEvent_t;
using bf16 = __nv_bfloat16;
using half = __half;
using f8 = __nv_fp8_e4m3;  // saturates

}  // namespace octavo::cuda
