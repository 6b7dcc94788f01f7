#include "ops/gather/gather.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

void infer(Infer& op) {
  op.read("x", "[tokens, E]");
  op.write("[logits, E]");
}

void lower(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  op.run([=](const CpuFrame& f) { select_rows(f[x], f.step.logits_indices, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(select_logits_rows, infer, lower);

}  // namespace octavo::program
