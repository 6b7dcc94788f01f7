#include "ops/pool/pool.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

Pooling pooling_of(const Attributes& attributes) {
  const std::string& kind = attributes.text("kind");
  if (kind == "last") return Pooling::last;
  if (kind == "cls") return Pooling::cls;
  require(kind == "mean", "kind is ", kind, "; it can be last, cls or mean");
  return Pooling::mean;
}

void infer(Infer& op) {
  pooling_of(op.attributes());
  op.read("x", "[tokens, E]");
  op.write("[sequences, E]");
}

void lower(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const Pooling pooling = pooling_of(op.attributes());
  op.run([=](const CpuFrame& f) { pool_sequences(f[x], f.step.query_indptr, pooling, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(pool, infer, lower);

}  // namespace octavo::program
