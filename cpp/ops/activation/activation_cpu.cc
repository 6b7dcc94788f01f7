#include "cpu/vec_math.h"
#include "ops/activation/activation_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

// y[i] = function(a[i], b[i]); the last partial vector takes the same path as the others.
template <typename Function>
OCTAVO_VEC void map(const float* a, const float* b, float* y, std::int64_t count, const Function& function) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, function(load(a + i), load(b + i)));
  const int rest = static_cast<int>(count - i);
  if (rest > 0) store_first(y + i, function(load_first(a + i, rest), load_first(b + i, rest)), rest);
}

void silu_and_mul(const float* gate, const float* up, float* y, std::int64_t count) {
  map(gate, up, y, count, [](Vec z, Vec factor) { return times_sigmoid(z, z) * factor; });
}

// (1 + tanh(u)) / 2 is the sigmoid of 2u: no cancellation where tanh is close to -1.
void gelu_tanh_and_mul(const float* gate, const float* up, float* y, std::int64_t count) {
  map(gate, up, y, count, [](Vec z, Vec factor) {
    const Vec cubic = fma(z * z, z * 0.044715f, z);
    return times_sigmoid(z, cubic * 1.5957691216057308f) * factor;  // 2 sqrt(2 / pi)
  });
}

void add(const float* x, const float* y, float* out, std::int64_t count) {
  map(x, y, out, count, [](Vec a, Vec b) { return a + b; });
}

void sigmoid_gate(const float* x, float gate, float* y, std::int64_t count) {
  map(x, x, y, count, [gate](Vec value, Vec) { return times_sigmoid(value, broadcast(gate)); });
}

void softcap(const float* x, float cap, float* y, std::int64_t count) {
  map(x, x, y, count, [cap](Vec value, Vec) { return cap * tanh(value / cap); });
}

}  // namespace

const ActivationKernels& activation_kernels() {
  static constexpr ActivationKernels kernels{silu_and_mul, gelu_tanh_and_mul, add, sigmoid_gate, softcap};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
