#include "bench/peaks.h"
#include "cpu/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kChains = 12;  // at least latency times issue width on every processor, fewer than there are registers

std::int64_t run_fma(std::int64_t repeats) {
  Vec chains[kChains];
  for (int chain = 0; chain < kChains; ++chain) chains[chain] = broadcast(static_cast<float>(chain));
  const Vec factor = broadcast(0.999f), addend = broadcast(0.001f);
  for (std::int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (int chain = 0; chain < kChains; ++chain) chains[chain] = fma(chains[chain], factor, addend);
  }
  Vec total = zero();
  for (int chain = 0; chain < kChains; ++chain) total += chains[chain];
  return static_cast<std::int64_t>(sum_of(total));
}

// dot() adds to the lanes of `sum` the products of the bytes of `a` and `b`.
#if defined(__AVX512VNNI__)
#define OCTAVO_BENCH_INT8 1
using Int8x = __m512i;
constexpr int kProductsPerDot = 64;
OCTAVO_VEC Int8x splat(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
OCTAVO_VEC Int8x dot(Int8x sum, Int8x a, Int8x b) { return _mm512_dpbusd_epi32(sum, a, b); }
#elif defined(__AVX2__)
#define OCTAVO_BENCH_INT8 1
using Int8x = __m256i;
constexpr int kProductsPerDot = 32;
OCTAVO_VEC Int8x splat(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
// Pairs go into 16 bits, where a group's products with 4-bit codes fit. Codes that change keep one product from doing for all chains.
OCTAVO_VEC Int8x dot(Int8x sum, Int8x, Int8x b) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(sum, b)); }
#elif defined(__ARM_FEATURE_DOTPROD)
#define OCTAVO_BENCH_INT8 1
using Int8x = int8x16_t;
constexpr int kProductsPerDot = 16;
OCTAVO_VEC Int8x splat(int value) { return vdupq_n_s8(static_cast<std::int8_t>(value)); }
OCTAVO_VEC Int8x dot(Int8x sum, Int8x a, Int8x b) { return vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), a, b)); }
#endif

#if OCTAVO_BENCH_INT8
std::int64_t run_int8_dot(std::int64_t repeats) {
  Int8x chains[kChains];
  for (int chain = 0; chain < kChains; ++chain) chains[chain] = splat(chain);
  const Int8x codes = splat(5), activations = splat(3);
  for (std::int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (int chain = 0; chain < kChains; ++chain) chains[chain] = dot(chains[chain], codes, activations);
  }
  for (int chain = 1; chain < kChains; ++chain) chains[0] += chains[chain];
  std::int64_t total;
  std::memcpy(&total, &chains[0], sizeof total);
  return total;
}
constexpr bench::Peak kInt8Dot{2.0 * kChains * kProductsPerDot, run_int8_dot};
#else
constexpr bench::Peak kInt8Dot{0.0, nullptr};
#endif

std::int64_t read(const void* from, std::size_t size) {
  constexpr std::size_t kAtOnce = 8;
  const float* floats = static_cast<const float*>(from);
  IntVec sums[kAtOnce] = {};
  for (std::size_t index = 0; index < size / sizeof(float); index += kAtOnce * kLanes) {
    for (std::size_t lane = 0; lane < kAtOnce; ++lane) sums[lane] ^= (IntVec)load(floats + index + lane * kLanes);
  }
  for (std::size_t lane = 1; lane < kAtOnce; ++lane) sums[0] ^= sums[lane];
  return sums[0][0] ^ sums[0][kLanes - 1];
}

}  // namespace

const bench::Peaks& peaks() {
  static constexpr bench::Peaks all{{2.0 * kChains * kLanes, run_fma}, kInt8Dot, read};
  return all;
}

}  // namespace octavo::OCTAVO_ISA
