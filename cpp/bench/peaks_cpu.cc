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

// Adds the products of the bytes of `a` and `b` to the lanes of `sum`.
#if defined(__AVX512VNNI__)
#define OCTAVO_BENCH_INT8 1
OCTAVO_VEC IntVec dot(IntVec sum, IntVec a, IntVec b) { return (IntVec)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
#define OCTAVO_BENCH_INT8 1
// Pairs go into 16 bits, where a group's products with 4-bit codes fit. Codes that change keep one product from doing for all chains;
// written out because GCC 12 would keep some chains in memory.
OCTAVO_VEC IntVec dot(IntVec sum, IntVec, IntVec b) {
  asm("vpmaddubsw %1, %0, %%ymm15\n\tvpaddw %%ymm15, %0, %0" : "+x"(sum) : "x"(b) : "xmm15");
  return sum;
}
#elif defined(__ARM_FEATURE_DOTPROD)
#define OCTAVO_BENCH_INT8 1
OCTAVO_VEC IntVec dot(IntVec sum, IntVec a, IntVec b) { return (IntVec)vdotq_s32((int32x4_t)sum, (int8x16_t)a, (int8x16_t)b); }
#endif

#if OCTAVO_BENCH_INT8
std::int64_t run_int8_dot(std::int64_t repeats) {
  IntVec chains[kChains];
  for (int chain = 0; chain < kChains; ++chain) chains[chain] = IntVec{} + chain;
  const IntVec codes = IntVec{} + 0x05050505, activations = IntVec{} + 0x03030303;
  for (std::int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (int chain = 0; chain < kChains; ++chain) chains[chain] = dot(chains[chain], codes, activations);
  }
  for (int chain = 1; chain < kChains; ++chain) chains[0] ^= chains[chain];
  return chains[0][0] ^ chains[0][kLanes - 1];
}
constexpr bench::Peak kInt8Dot{2.0 * kChains * sizeof(IntVec), run_int8_dot};
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
