// Elements in a kernel: float32 in registers, whatever is stored in memory; 16 bytes at a time.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "base/error.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f8 x) { return static_cast<float>(x); }

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ half from_float<half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}

template <>
__device__ __forceinline__ f8 from_float<f8>(float x) {
  return f8(x);
}

// kCount neighbouring elements that move as one access.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];

  static __device__ __forceinline__ Pack load(const T* from) { return *reinterpret_cast<const Pack*>(from); }
  __device__ __forceinline__ void store(T* to) const { *reinterpret_cast<Pack*>(to) = *this; }
  __device__ __forceinline__ float operator[](int i) const { return to_float(values[i]); }
  __device__ __forceinline__ void set(int i, float x) { values[i] = from_float<T>(x); }
};

template <typename T>
constexpr int kVectorElements = 16 / static_cast<int>(sizeof(T));

// Calls f with a null pointer of the element type: dispatch(type, [&](auto* tag) { using T = std::remove_pointer_t<decltype(tag)>; ... }).
template <typename F>
void dispatch_float(DType type, const char* op, F&& f) {
  switch (type) {
    case DType::f32:
      return f(static_cast<float*>(nullptr));
    case DType::f16:
      return f(static_cast<half*>(nullptr));
    case DType::bf16:
      return f(static_cast<bf16*>(nullptr));
    default:
      throw std::invalid_argument(concat(op, ": elements of type ", name_of(type), " are not supported"));
  }
}

// The same with the element type of the activations and that of the KV cache, which is it or f8.
template <typename F>
void dispatch_kv(DType type, DType kv, const char* op, F&& f) {
  require(kv == type || (kv == DType::f8 && type != DType::f32), op, ": a KV cache of ", name_of(kv), " beside activations of ",
          name_of(type));
  dispatch_float(type, op, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    if constexpr (sizeof(T) == 2) {
      if (kv == DType::f8) return f(tag, static_cast<f8*>(nullptr));
    }
    f(tag, tag);
  });
}

}  // namespace octavo::cuda
