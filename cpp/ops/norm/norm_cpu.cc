#include "cpu/vec_math.h"
#include "ops/norm/norm_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kChains = 4;  // independent sums: one chain of additions would wait for itself

float sum_of_squares(const float* x, std::int64_t count) {
  Vec sums[kChains] = {};
  std::int64_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes) {
    for (int chain = 0; chain < kChains; ++chain) {
      const Vec value = load(x + i + chain * kLanes);
      sums[chain] = fma(value, value, sums[chain]);
    }
  }
  for (; i + kLanes <= count; i += kLanes) {
    const Vec value = load(x + i);
    sums[0] = fma(value, value, sums[0]);
  }
  if (i < count) {
    const Vec value = load_first(x + i, static_cast<int>(count - i));
    sums[1] = fma(value, value, sums[1]);
  }
  return sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

float sum_of_values(const float* x, std::int64_t count) {
  Vec sum = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sum = sum + load(x + i);
  if (i < count) sum = sum + load_first(x + i, static_cast<int>(count - i));
  return sum_of(sum);
}

// y = x - mean; returns the sum of y^2.
float centre(const float* x, float mean, float* y, std::int64_t count) {
  const Vec middle = broadcast(mean);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, load(x + i) - middle);
  for (; i < count; ++i) y[i] = x[i] - mean;
  return sum_of_squares(y, count);
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* y, std::int64_t count) {
  const float size = static_cast<float>(count);
  const float variance = centre(x, sum_of_values(x, count) / size, y, count) / size;
  const Vec factor = broadcast(1.0f / __builtin_sqrtf(variance + eps));
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec scaled = load(y + i) * factor * load(weight + i);
    store(y + i, bias == nullptr ? scaled : scaled + load(bias + i));
  }
  if (i < count) {
    const int rest = static_cast<int>(count - i);
    const Vec scaled = load_first(y + i, rest) * factor * load_first(weight + i, rest);
    store_first(y + i, bias == nullptr ? scaled : scaled + load_first(bias + i, rest), rest);
  }
}

void rms_norm(const float* x, const float* weight, float eps, float* y, std::int64_t count) {
  const Vec factor = broadcast(1.0f / __builtin_sqrtf(sum_of_squares(x, count) / static_cast<float>(count) + eps));
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, load(x + i) * factor * load(weight + i));
  if (i < count) {
    const int rest = static_cast<int>(count - i);
    store_first(y + i, load_first(x + i, rest) * factor * load_first(weight + i, rest), rest);
  }
}

void add(const float* x, const float* residual, float* sum, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(sum + i, load(x + i) + load(residual + i));
  for (; i < count; ++i) sum[i] = x[i] + residual[i];
}

}  // namespace

const NormKernels& norm_kernels() {
  static constexpr NormKernels kernels{rms_norm, layer_norm, add};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
