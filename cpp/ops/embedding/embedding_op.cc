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

void infer_position_embedding(Infer& op) {
  op.check(op.integer("offset") >= 0, "offset is ", op.integer("offset"), "; it must be at least 0");
  op.weight("table", "embedding", "[P, E]");
  op.write("[tokens, E]");
}

void lower_position_embedding(CpuLowering& op) {
  const ValueId y = op.write(0);
  const EmbeddingWeight& table = op.weight<EmbeddingWeight>(0);
  const std::int64_t offset = op.attributes().integer("offset");
  op.run([=, &table](const CpuFrame& f) { octavo::position_embedding(f.step.positions, table, offset, f[y], f.pool); });
}

void infer_lookup(Infer& op) {
  op.weight("table", "embedding", "[V, E]");
  op.read("ids", "[R, 1]", ValueType::int32);
  op.write("[R, E]");
}

void lower_lookup(CpuLowering& op) {
  const ValueId ids = op.read(0), y = op.write(0);
  const EmbeddingWeight& table = op.weight<EmbeddingWeight>(0);
  op.run([=, &table](const CpuFrame& f) { octavo::lookup(f.ints(ids), table, f[y], f.pool); });
}

void infer_weighted_lookup(Infer& op) {
  op.weight("table", "embedding", "[V, E]");
  op.read("ids", "[R, F]", ValueType::int32);
  op.read("weights", "[R, F]");
  op.write("[R, E]");
}

void lower_weighted_lookup(CpuLowering& op) {
  const ValueId ids = op.read(0), weights = op.read(1), y = op.write(0);
  const EmbeddingWeight& table = op.weight<EmbeddingWeight>(0);
  op.run([=, &table](const CpuFrame& f) { octavo::weighted_lookup(f.ints(ids), f[weights], table, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(embedding, infer, lower);
OCTAVO_DEFINE_OP(lookup, infer_lookup, lower_lookup);
OCTAVO_DEFINE_OP(position_embedding, infer_position_embedding, lower_position_embedding);
OCTAVO_DEFINE_OP(weighted_lookup, infer_weighted_lookup, lower_weighted_lookup);

}  // namespace octavo::program
