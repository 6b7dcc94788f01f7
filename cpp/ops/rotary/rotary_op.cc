#include "ops/rotary/rotary.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

void infer(Infer& op) {
  op.weight("cos_sin", "array", "[P, A]");
  op.read("x", "[tokens, H*head_dim]");
  op.check(op.size("A") % 2 == 0 && op.size("A") <= op.integer("head_dim"), "cos_sin has ", op.size("A"), " columns for heads of ",
           op.integer("head_dim"));
  op.write("[tokens, H*head_dim]");
}

void lower(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const Matrix<const float> cos_sin = op.weight<ArrayWeight>(0).matrix();
  const auto head_dim = static_cast<int>(op.attributes().integer("head_dim"));
  op.run([=](const CpuFrame& f) { octavo::rotary_embedding(f[x], f.step.positions, cos_sin, head_dim, f[y], f.pool); });
}

void infer_axis_rotation(Infer& op) {
  op.weight("cos_sin", "array", "[P, D]");
  op.weight("axes", "array", "[C]");
  op.read("positions", "[R, A]", ValueType::int32);
  op.check(op.size("D") == 2 * op.size("C"), "cos_sin has ", op.size("D"), " columns for ", op.size("C"), " axes");
  op.write("[R, D]", ValueType::float32);
}

void lower_axis_rotation(CpuLowering& op) {
  const ValueId positions = op.read(0), y = op.write(0);
  const Matrix<const float> cos_sin = op.weight<ArrayWeight>(0).matrix();
  const Span<const float> axes = op.weight<ArrayWeight>(1).values();
  op.run([=](const CpuFrame& f) { axis_rotation(f.ints(positions), cos_sin, axes, f[y], f.pool); });
}

void infer_rotate(Infer& op) {
  op.read("x", "[R, H*head_dim]");
  op.read("rotation", "[R, D]");
  op.check(op.size("D") % 2 == 0 && op.size("D") <= op.integer("head_dim"), "rotation has ", op.size("D"), " columns for heads of ",
           op.integer("head_dim"));
  op.write("[R, H*head_dim]");
}

void lower_rotate(CpuLowering& op) {
  const ValueId x = op.read(0), rotation = op.read(1), y = op.write(0);
  const auto head_dim = static_cast<int>(op.attributes().integer("head_dim"));
  op.run([=](const CpuFrame& f) { rotate(f[x], f[rotation], head_dim, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(axis_rotation, infer_axis_rotation, lower_axis_rotation);
OCTAVO_DEFINE_OP(rotate, infer_rotate, lower_rotate);
OCTAVO_DEFINE_OP(rotary_embedding, infer, lower);

}  // namespace octavo::program
