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

// Phi(-a) for 0 <= a <= 13, with a relative error below 1e-6: e^(-a^2 / 2) times a polynomial in 1 / (1 + 0.3 a), fitted to
// erfcx(a / sqrt(2)) / 2 with equal relative errors. The rounding error of a^2 is made good: e would multiply it by 85.
OCTAVO_VEC Vec normal_tail(Vec a) {
  const Vec u = 1.0f / fma(a, broadcast(0.3f), broadcast(1.0f));
  Vec p = broadcast(0.0382711366f);
  p = fma(p, u, broadcast(-0.168644145f));
  p = fma(p, u, broadcast(0.227579191f));
  p = fma(p, u, broadcast(-0.0752667859f));
  p = fma(p, u, broadcast(0.1416765f));
  p = fma(p, u, broadcast(0.0950508118f));
  p = fma(p, u, broadcast(0.121825956f));
  p = fma(p, u, broadcast(0.119500987f));
  p = fma(p, u, broadcast(6.3836178e-06f));
  const Vec square = a * a;
  const Vec lost = fma(a, a, -square);
  return p * fma(lost, broadcast(-0.5f), broadcast(1.0f)) * exp(square * -0.5f);
}

// z * Phi(z) = max(z, 0) - a * Phi(-a) with a = |z|: no cancellation on either side. A NaN stays one.
OCTAVO_VEC Vec exact_gelu(Vec z) {
  const Vec a = min(magnitude(z), broadcast(13.0f));  // beyond, a * Phi(-a) is below 1e-36
  const Vec positive = z < 0.0f ? zero() : z;
  return positive - a * normal_tail(a);
}

void gelu_and_mul(const float* gate, const float* up, float* y, std::int64_t count) {
  map(gate, up, y, count, [](Vec z, Vec factor) { return exact_gelu(z) * factor; });
}

void clamped_swiglu(const float* gate, const float* up, float alpha, float limit, float* y, std::int64_t count) {
  const Vec most = broadcast(limit), least = broadcast(-limit);
  map(gate, up, y, count, [=](Vec z, Vec factor) {
    const Vec bounded = min(most, z);  // in this order NaN stays NaN
    return times_sigmoid(bounded, bounded * alpha) * (max(least, min(most, factor)) + 1.0f);
  });
}

void gelu(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return exact_gelu(z); });
}

// (1 + tanh(u)) / 2 is the sigmoid of 2u: no cancellation where tanh is close to -1.
void gelu_tanh_and_mul(const float* gate, const float* up, float* y, std::int64_t count) {
  map(gate, up, y, count, [](Vec z, Vec factor) {
    const Vec cubic = fma(z * z, z * 0.044715f, z);
    return times_sigmoid(z, cubic * 1.5957691216057308f) * factor;  // 2 sqrt(2 / pi)
  });
}

void gelu_tanh(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return times_sigmoid(z, fma(z * z, z * 0.044715f, z) * 1.5957691216057308f); });
}

void quick_gelu(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return times_sigmoid(z, z * 1.702f); });
}

void silu(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return times_sigmoid(z, z); });
}

void relu(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return max(broadcast(0.0f), z); });  // in this order NaN stays NaN
}

void relu_squared(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) {
    const Vec positive = max(broadcast(0.0f), z);
    return positive * positive;
  });
}

void tanh_of(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return tanh(z); });
}

void scale(const float* x, float factor, float* y, std::int64_t count) {
  map(x, x, y, count, [factor](Vec value, Vec) { return value * broadcast(factor); });
}

void add(const float* x, const float* y, float* out, std::int64_t count) {
  map(x, y, out, count, [](Vec a, Vec b) { return a + b; });
}

void mul(const float* x, const float* y, float* out, std::int64_t count) {
  map(x, y, out, count, [](Vec a, Vec b) { return a * b; });
}

void sigmoid(const float* x, float* y, std::int64_t count) {
  map(x, x, y, count, [](Vec z, Vec) { return times_sigmoid(broadcast(1.0f), z); });
}

void sigmoid_gate(const float* x, float gate, float* y, std::int64_t count) {
  map(x, x, y, count, [gate](Vec value, Vec) { return times_sigmoid(value, broadcast(gate)); });
}

void softcap(const float* x, float cap, float* y, std::int64_t count) {
  map(x, x, y, count, [cap](Vec value, Vec) { return cap * tanh(value / cap); });
}

}  // namespace

const ActivationKernels& activation_kernels() {
  static constexpr ActivationKernels kernels{
      silu_and_mul, gelu_and_mul, gelu_tanh_and_mul, clamped_swiglu, gelu,    gelu_tanh, quick_gelu, silu,
      relu,         relu_squared, tanh_of,           scale,          sigmoid, mul,       add,        sigmoid_gate,
      softcap};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
