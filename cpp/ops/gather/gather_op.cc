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

void infer_gather_rows(Infer& op) {
  op.read("x", "[R, E]");
  op.read("ids", "[M, F]", ValueType::int32);
  op.write("[M, F*E]");
}

void lower_gather_rows(CpuLowering& op) {
  const ValueId x = op.read(0), ids = op.read(1), y = op.write(0);
  op.run([=](const CpuFrame& f) { gather_rows(f[x], f.ints(ids), f[y], f.pool); });
}

void infer_choose_rows(Infer& op) {
  op.read("x", "[R, E]");
  op.read("other", "[R, E]");
  op.read("chosen", "[R, 1]", ValueType::int32);
  op.write("[R, E]");
}

void lower_choose_rows(CpuLowering& op) {
  const ValueId x = op.read(0), other = op.read(1), chosen = op.read(2), y = op.write(0);
  op.run([=](const CpuFrame& f) { choose_rows(f[x], f[other], f.ints(chosen), f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(choose_rows, infer_choose_rows, lower_choose_rows);
OCTAVO_DEFINE_OP(gather_rows, infer_gather_rows, lower_gather_rows);
OCTAVO_DEFINE_OP(select_logits_rows, infer, lower);

}  // namespace octavo::program
