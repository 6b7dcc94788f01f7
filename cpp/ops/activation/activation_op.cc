#include "ops/activation/activation.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

void infer_gated(Infer& op) {
  op.read("x", "[R, 2*F]");
  op.write("[R, F]");
}

template <void (*activate)(Matrix<const float>, Matrix<float>, cpu::ThreadPool&)>
void lower_map(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  op.run([=](const CpuFrame& f) { activate(f[x], f[y], f.pool); });
}

void infer_elementwise(Infer& op) {
  op.read("x", "[R, C]");
  op.write("[R, C]");
}

void infer_scale(Infer& op) {
  op.attributes().number("factor");
  const ValueType type = op.read("x", "[R, C]");
  op.write("[R, C]", type);
}

void lower_scale(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const auto factor = static_cast<float>(op.attributes().number("factor"));
  op.run([=](const CpuFrame& f) { octavo::scale(f[x], factor, f[y], f.pool); });
}

void infer_paired(Infer& op) {
  op.read("x", "[R, C]");
  op.read("y", "[R, C]");
  op.write("[R, C]");
}

template <void (*pair)(Matrix<const float>, Matrix<const float>, Matrix<float>, cpu::ThreadPool&)>
void lower_paired(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.read(1), out = op.write(0);
  op.run([=](const CpuFrame& f) { pair(f[x], f[y], f[out], f.pool); });
}

void infer_sigmoid_gate(Infer& op) {
  op.read("x", "[R, C]");
  op.read("gate", "[R, 1]");
  op.write("[R, C]");
}

void lower_sigmoid_gate(CpuLowering& op) {
  const ValueId x = op.read(0), gate = op.read(1), y = op.write(0);
  op.run([=](const CpuFrame& f) { octavo::sigmoid_gate(f[x], f[gate], f[y], f.pool); });
}

void infer_softcap(Infer& op) {
  const double cap = op.attributes().number("cap");
  op.check(cap > 0, "cap is ", cap, "; it must be greater than 0");
  const ValueType type = op.read("x", "[R, C]");
  op.write("[R, C]", type);
}

void lower_softcap(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const auto cap = static_cast<float>(op.attributes().number("cap"));
  op.run([=](const CpuFrame& f) { octavo::softcap(f[x], cap, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(silu_and_mul, infer_gated, lower_map<octavo::silu_and_mul>);
OCTAVO_DEFINE_OP(gelu_and_mul, infer_gated, lower_map<octavo::gelu_and_mul>);
OCTAVO_DEFINE_OP(gelu_tanh_and_mul, infer_gated, lower_map<octavo::gelu_tanh_and_mul>);
OCTAVO_DEFINE_OP(gelu, infer_elementwise, lower_map<octavo::gelu>);
OCTAVO_DEFINE_OP(gelu_tanh, infer_elementwise, lower_map<octavo::gelu_tanh>);
OCTAVO_DEFINE_OP(quick_gelu, infer_elementwise, lower_map<octavo::quick_gelu>);
OCTAVO_DEFINE_OP(silu, infer_elementwise, lower_map<octavo::silu>);
OCTAVO_DEFINE_OP(relu, infer_elementwise, lower_map<octavo::relu>);
OCTAVO_DEFINE_OP(relu_squared, infer_elementwise, lower_map<octavo::relu_squared>);
OCTAVO_DEFINE_OP(tanh, infer_elementwise, lower_map<octavo::tanh_of>);
OCTAVO_DEFINE_OP(scale, infer_scale, lower_scale);
OCTAVO_DEFINE_OP(sigmoid, infer_elementwise, lower_map<octavo::sigmoid>);
OCTAVO_DEFINE_OP(add, infer_paired, lower_paired<octavo::add>);
OCTAVO_DEFINE_OP(mul, infer_paired, lower_paired<octavo::mul>);
OCTAVO_DEFINE_OP(sigmoid_gate, infer_sigmoid_gate, lower_sigmoid_gate);
OCTAVO_DEFINE_OP(softcap, infer_softcap, lower_softcap);

}  // namespace octavo::program
