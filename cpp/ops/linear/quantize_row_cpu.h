// One row of activations in 8 bits (quantized_rows.h). For linear_cpu.cc alone.
#pragma once
#include "cpu/vec_math.h"
#include "ops/linear/quantized_rows.h"

namespace octavo::OCTAVO_ISA {

constexpr int kGroupVecs = kActivationGroup / kLanes;
constexpr float kLeastMagnitude = 1e-30f;  // groups below count as zeros: 127 / max must be finite

OCTAVO_VEC void quantize_group(const float* x, std::int8_t* codes, ActivationGroup& group) {
  Vec values[kGroupVecs], largest = zero(), faults = zero();
  for (int vec = 0; vec < kGroupVecs; ++vec) {
    values[vec] = load(x + vec * kLanes);
    largest = max(abs(values[vec]), largest);
    faults += values[vec] - values[vec];  // zero, or NaN for an infinity or a NaN
  }
  const bool is_finite = !any(faults != 0.0f);
  const float top = max_of(largest);
  const float inverse = top > kLeastMagnitude ? 127.0f / top : 0.0f;
  IntVec half_sums[2] = {};
  for (int vec = 0; vec < kGroupVecs; ++vec) {
    const IntVec rounded = is_finite ? round_to_int(values[vec] * broadcast(inverse)) : IntVec{};
    half_sums[vec * 2 / kGroupVecs] += rounded;
    store_i8(codes + vec * kLanes, rounded);
  }
  group.scale = is_finite ? top * (1.0f / 127.0f) : __builtin_nanf("");
  group.sums[0] = sum_of(half_sums[0]);
  group.sums[1] = sum_of(half_sums[1]);
  group.scaled_sum = group.scale * static_cast<float>(group.sums[0] + group.sums[1]);
}

static void quantize_row(const float* x, std::int64_t cols, std::int8_t* codes, ActivationGroup* groups) {
  for (std::int64_t k = 0; k < cols; k += kActivationGroup) quantize_group(x + k, codes + k, groups[k / kActivationGroup]);
}

}  // namespace octavo::OCTAVO_ISA
