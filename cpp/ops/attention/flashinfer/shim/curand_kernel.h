// Declarations that CUTLASS's test utilities, which FlashInfer's headers include, want of cuRAND. Nothing that is compiled calls them.
#pragma once

struct curandState_t {};
using curandState = curandState_t;

__device__ void curand_init(unsigned long long seed, unsigned long long sequence, unsigned long long offset, curandState_t* state);
__device__ float curand_uniform(curandState_t* state);
__device__ double curand_uniform_double(curandState_t* state);
__device__ float curand_normal(curandState_t* state);
__device__ double curand_normal_double(curandState_t* state);
