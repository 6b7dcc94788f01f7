// One row of activations in 8 bits (quantized_rows.h). For linear_cpu.cc alone.
#pragma once
#include "cpu/vec_math.h"
#include "ops/linear/quantized_rows.h"

namespace octavo::OCTAVO_ISA {

constexpr int kGroupVecs = kActivationGroup / kLanes;
constexpr float kLeastMagnitude = 1e-30f;  // groups below count as zeros: 127 / max must be finite

// Values of -127 .. 127 as bytes.
OCTAVO_VEC void store_codes(std::int8_t* to, const IntVec* values) {
#if defined(__AVX2__) && !defined(__AVX512F__)  // the compiler would narrow each vector by itself
  const __m256i low = _mm256_packs_epi32((__m256i)values[0], (__m256i)values[1]);
  const __m256i high = _mm256_packs_epi32((__m256i)values[2], (__m256i)values[3]);
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing works on halves of a vector
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), in_order);
  std::memcpy(to, &bytes, sizeof bytes);
#else
  for (int vec = 0; vec < kGroupVecs; ++vec) store_i8(to + vec * kLanes, values[vec]);
#endif
}

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
  IntVec rounded[kGroupVecs], half_sums[2] = {};
  for (int vec = 0; vec < kGroupVecs; ++vec) {
    rounded[vec] = is_finite ? round_to_int(values[vec] * broadcast(inverse)) : IntVec{};
    half_sums[vec * 2 / kGroupVecs] += rounded[vec];
  }
  store_codes(codes, rounded);
  group.scale = is_finite ? top * (1.0f / 127.0f) : __builtin_nanf("");
  group.sums[0] = sum_of(half_sums[0]);
  group.sums[1] = sum_of(half_sums[1]);
  group.scaled_sum = group.scale * static_cast<float>(group.sums[0] + group.sums[1]);
}

static void quantize_row(const float* x, std::int64_t cols, std::int8_t* codes, ActivationGroup* groups) {
  for (std::int64_t k = 0; k < cols; k += kActivationGroup) quantize_group(x + k, codes + k, groups[k / kActivationGroup]);
}

}  // namespace octavo::OCTAVO_ISA
