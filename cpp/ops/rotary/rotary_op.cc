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

}  // namespace

OCTAVO_DEFINE_OP(rotary_embedding, infer, lower);

}  // namespace octavo::program
