#include "cpu/vec_math.h"
#include "ops/rotary/rotary_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

void rotate(const float* x, const float* cos, const float* sin, float* y, int half) {
  int i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vec x1 = load(x + i), x2 = load(x + half + i), c = load(cos + i), s = load(sin + i);
    store(y + i, x1 * c - x2 * s);
    store(y + half + i, x2 * c + x1 * s);
  }
  for (; i < half; ++i) {
    const float x1 = x[i], x2 = x[half + i];
    y[i] = x1 * cos[i] - x2 * sin[i];
    y[half + i] = x2 * cos[i] + x1 * sin[i];
  }
}

}  // namespace

const RotaryKernels& rotary_kernels() {
  static constexpr RotaryKernels kernels{rotate};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
