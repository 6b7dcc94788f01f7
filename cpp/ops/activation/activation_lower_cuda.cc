#include "cuda/lower_ops.h"
#include "ops/activation/activation_cuda.h"

namespace octavo::cuda {
namespace {

void lower_gate(OpLowering& op, Gate gate) {
  const auto x = op.read(0), y = op.write();
  op.launch(op.op.name, [=](const Frame& f) { gate_and_mul(gate, f[x], f[y], f.stream); });
}

void lower_activation(OpLowering& op, Activation activation) {
  const auto x = op.read(0), y = op.write();
  op.launch(op.op.name, [=](const Frame& f) { activate(activation, f[x], f[y], f.stream); });
}

}  // namespace

void lower_gelu(OpLowering& op) { lower_activation(op, Activation::gelu); }
void lower_gelu_tanh(OpLowering& op) { lower_activation(op, Activation::gelu_tanh); }
void lower_quick_gelu(OpLowering& op) { lower_activation(op, Activation::quick_gelu); }
void lower_sigmoid(OpLowering& op) { lower_activation(op, Activation::sigmoid); }
void lower_silu(OpLowering& op) { lower_activation(op, Activation::silu); }
void lower_relu(OpLowering& op) { lower_activation(op, Activation::relu); }
void lower_relu_squared(OpLowering& op) { lower_activation(op, Activation::relu_squared); }
void lower_tanh(OpLowering& op) { lower_activation(op, Activation::tanh); }

void lower_scale(OpLowering& op) {
  const auto x = op.read(0), y = op.write();
  const auto factor = static_cast<float>(op.op.attributes.number("factor"));
  op.launch("scale", [=](const Frame& f) { scale(f[x], factor, f[y], f.stream); });
}

void lower_silu_and_mul(OpLowering& op) { lower_gate(op, Gate::silu); }
void lower_gelu_tanh_and_mul(OpLowering& op) { lower_gate(op, Gate::gelu_tanh); }
void lower_gelu_and_mul(OpLowering& op) { lower_gate(op, Gate::gelu_erf); }

void lower_add(OpLowering& op) {
  const auto x = op.read(0), y = op.read(1), out = op.write();
  op.launch("add", [=](const Frame& f) { add(f[x], f[y], f[out], f.stream); });
}

void lower_mul(OpLowering& op) {
  const auto x = op.read(0), y = op.read(1), out = op.write();
  op.launch("mul", [=](const Frame& f) { mul(f[x], f[y], f[out], f.stream); });
}

void lower_sigmoid_gate(OpLowering& op) {
  const auto x = op.read(0), gate = op.read(1), y = op.write();
  op.launch("sigmoid_gate", [=](const Frame& f) { sigmoid_gate(f[x], f[gate], f[y], f.stream); });
}

void lower_softcap(OpLowering& op) {
  const auto x = op.read(0), y = op.write();
  const auto cap = static_cast<float>(op.op.attributes.number("cap"));
  op.launch("softcap", [=](const Frame& f) { softcap(f[x], cap, f[y], f.stream); });
}

}  // namespace octavo::cuda
