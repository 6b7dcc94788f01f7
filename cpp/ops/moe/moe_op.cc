#include <map>

#include "ops/activation/activation.h"
#include "ops/linear/quantized_rows.h"
#include "ops/moe/experts.h"
#include "ops/moe/route.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

void infer_route(Infer& op) {
  op.attributes().flag("renormalise");
  op.read("router_logits", "[R, X]");
  const std::int64_t top_k = op.integer("top_k");
  op.check(top_k >= 1 && top_k <= op.size("X"), "top_k is ", top_k, "; it must be from 1 to the ", op.size("X"), " experts");
  op.write("[R, top_k]", ValueType::int32);    // ids
  op.write("[R, top_k]", ValueType::float32);  // weights
}

void lower_route(CpuLowering& op) {
  const ValueId logits = op.read(0), ids = op.write(0), weights = op.write(1);
  const bool renormalise = op.attributes().flag("renormalise");
  op.run([=](const CpuFrame& f) { octavo::route(f[logits], renormalise, f.ints(ids), f[weights], f.pool); });
}

ActivateAndMul activation_of(const std::string& name) {
  static const std::map<std::string, ActivateAndMul> known{
      {"silu", octavo::silu_and_mul}, {"gelu", octavo::gelu_and_mul}, {"gelu_pytorch_tanh", octavo::gelu_tanh_and_mul}};
  const auto found = known.find(name);
  require(found != known.end(), "activation ", name, " is unknown; known: silu, gelu, gelu_pytorch_tanh");
  return found->second;
}

void infer_experts(Infer& op) {
  activation_of(op.attributes().text("activation"));
  op.weight("experts", "experts", "[X, F, E]");
  op.read("x", "[R, E]");
  op.read("ids", "[R, K]", ValueType::int32);
  op.read("weights", "[R, K]");
  op.write("[R, E]");
}

void lower_experts(CpuLowering& op) {
  const ValueId x = op.read(0), ids = op.read(1), weights = op.read(2), y = op.write(0);
  const ExpertsWeight& blocks = op.weight<ExpertsWeight>(0);
  const ActivateAndMul activate_and_mul = activation_of(op.attributes().text("activation"));
  const std::int64_t top_k = op.cols(ids), max_rows = op.max_rows(x);
  const int memory = op.scratch(ExpertsScratch::num_bytes(max_rows, top_k, blocks));
  if (blocks.quantizes_activations()) {
    op.reserve_pool_scratch(QuantizedRows::num_bytes(max_rows, std::max(blocks.hidden_size(), blocks.size())));
  }
  op.run([=, &blocks](const CpuFrame& f) {
    const Matrix<float> input = f[x];
    const ExpertsScratch scratch = ExpertsScratch::in(f.scratch(memory), input.rows, top_k, blocks);
    run_experts(input, {f.ints(ids), f[weights], blocks, activate_and_mul}, scratch, f[y], f.pool);
  });
}

}  // namespace

OCTAVO_DEFINE_OP(route, infer_route, lower_route);
OCTAVO_DEFINE_OP(experts, infer_experts, lower_experts);

}  // namespace octavo::program
