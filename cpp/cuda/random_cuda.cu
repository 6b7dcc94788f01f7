#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/weights.h"

namespace octavo::cuda {
namespace {

// Uniform over an interval of standard deviation 0.02: what a product costs does not depend on the distribution's tails.
template <typename T>
__global__ void fill_random_kernel(T* to, std::int64_t count, std::uint64_t seed) {
  constexpr float kHalfWidth = 0.02f * 1.7320508f;
  for (std::int64_t i = blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    std::uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15ull;  // SplitMix64 (Steele, Lea, Flood 2014)
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    to[i] = from_float<T>((static_cast<float>(z >> 40) * (2.0f / 16777216.0f) - 1.0f) * kHalfWidth);
  }
}

}  // namespace

void fill_random(void* to, DType type, std::int64_t count, std::uint64_t seed, Stream stream) {
  dispatch_float(type, "random weights", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    fill_random_kernel<T><<<1024, 256, 0, stream>>>(static_cast<T*>(to), count, seed);
  });
  check_launch("random weights");
}

}  // namespace octavo::cuda
