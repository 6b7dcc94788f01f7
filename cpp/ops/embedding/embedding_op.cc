#include "ops/embedding/embedding.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

void infer(Infer& op) {
  op.attributes().number("scale");
  op.weight("table", "embedding", "[V, E]");
  op.write("[tokens, E]");
}

void lower(CpuLowering& op) {
  const ValueId y = op.write(0);
  const EmbeddingWeight& table = op.weight<EmbeddingWeight>(0);
  const auto scale = static_cast<float>(op.attributes().number("scale"));
  op.run([=, &table](const CpuFrame& f) { octavo::embedding(f.step.token_ids, table, scale, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(embedding, infer, lower);

}  // namespace octavo::program
