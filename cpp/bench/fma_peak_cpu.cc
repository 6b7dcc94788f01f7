#include "bench/fma_peak.h"
#include "cpu/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kChains = 12;  // more than latency times issue width on every processor, fewer than there are registers

float run(std::int64_t repeats) {
  Vec chains[kChains];
  for (int chain = 0; chain < kChains; ++chain) chains[chain] = broadcast(static_cast<float>(chain));
  const Vec factor = broadcast(0.999f), addend = broadcast(0.001f);
  for (std::int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (int chain = 0; chain < kChains; ++chain) chains[chain] = fma(chains[chain], factor, addend);
  }
  Vec total = zero();
  for (int chain = 0; chain < kChains; ++chain) total += chains[chain];
  return sum_of(total);
}

}  // namespace

const FmaPeak& fma_peak() {
  static constexpr FmaPeak peak{std::int64_t{2} * kChains * kLanes, run};
  return peak;
}

}  // namespace octavo::OCTAVO_ISA
