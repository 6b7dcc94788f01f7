// Code that a GPU kernel and a host test share: a device function where a GPU compiler reads it, an inline function elsewhere.
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define OCTAVO_DEVICE __device__ __forceinline__
#else
#define OCTAVO_DEVICE inline
#endif
