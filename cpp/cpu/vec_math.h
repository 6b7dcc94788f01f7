// More functions over cpu/vec.h: partial vectors, tanh. Include it only from ops/<op>/<op>_cpu.cc.
#pragma once
#include "cpu/vec.h"

namespace octavo::OCTAVO_ISA {

// The first `count` < kLanes elements; the other lanes are `rest`, and memory behind them is not read.
OCTAVO_VEC Vec load_first(const float* from, int count, float rest = 0.0f) {
  float lanes[kLanes];
  store(lanes, broadcast(rest));
  std::memcpy(lanes, from, static_cast<std::size_t>(count) * sizeof(float));
  return load(lanes);
}
OCTAVO_VEC void store_first(float* to, Vec value, int count) {
  float lanes[kLanes];
  store(lanes, value);
  std::memcpy(to, lanes, static_cast<std::size_t>(count) * sizeof(float));
}

// Whether a comparison holds in any lane.
OCTAVO_VEC bool any(IntVec mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_testz_si256((__m256i)mask, (__m256i)mask) == 0;
#else
  std::int32_t bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) bits |= mask[lane];
  return bits != 0;
#endif
}

OCTAVO_VEC Vec magnitude(Vec x) { return (Vec)((IntVec)x & 0x7fffffff); }

// Within 3 ulp. A polynomial near zero, where 1 - 2 / (e^2x + 1) would cancel. After Cephes' tanhf.
OCTAVO_VEC Vec tanh(Vec x) {
  const Vec size = magnitude(x);
  const Vec square = x * x;
  Vec p = broadcast(-5.70498872745e-3f);
  p = fma(p, square, broadcast(2.06390887954e-2f));
  p = fma(p, square, broadcast(-5.37397155531e-2f));
  p = fma(p, square, broadcast(1.33314422036e-1f));
  p = fma(p, square, broadcast(-3.33332819422e-1f));
  const Vec near = fma(p * square, x, x);
  const Vec far = 1.0f - 2.0f / (exp(size + size) + 1.0f);
  const Vec signed_far = x < 0.0f ? -far : far;
  return size >= 0.625f ? signed_far : near;  // a NaN stays one
}

// x / (1 + e^-z): keeps its relative accuracy where the sigmoid is close to zero.
OCTAVO_VEC Vec times_sigmoid(Vec x, Vec z) { return x / (1.0f + exp(-z)); }

}  // namespace octavo::OCTAVO_ISA
