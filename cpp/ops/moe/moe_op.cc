#include <map>

#include "ops/activation/activation.h"
#include "ops/linear/quantized_rows.h"
#include "ops/moe/experts.h"
#include "ops/moe/route.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

Scoring scoring_of(const std::string& name) {
  static const std::map<std::string, Scoring> known{
      {"softmax", Scoring::softmax}, {"sigmoid", Scoring::sigmoid}, {"sparsemixer", Scoring::sparsemixer}};
  const auto found = known.find(name);
  require(found != known.end(), "scoring ", name, " is unknown; known: sigmoid, softmax, sparsemixer");
  return found->second;
}

Routing routing_of(const Attributes& attributes) {
  Routing routing;
  routing.scoring = scoring_of(attributes.has("scoring") ? attributes.text("scoring") : "softmax");
  routing.renormalise = attributes.flag("renormalise");
  routing.num_groups = static_cast<int>(attributes.integer_if("num_groups").value_or(1));
  routing.top_groups = static_cast<int>(attributes.integer_if("top_groups").value_or(1));
  routing.group_best = static_cast<int>(attributes.integer_if("group_best").value_or(1));
  routing.scale = static_cast<float>(attributes.number_if("scale").value_or(1.0));
  routing.least_sum = static_cast<float>(attributes.number_if("least_sum").value_or(0.0));
  routing.jitter = static_cast<float>(attributes.number_if("jitter").value_or(0.0));
  return routing;
}

void infer_route(Infer& op) {
  const Routing routing = routing_of(op.attributes());
  op.read("router_logits", "[R, X]");
  op.optional_weight("bias", "array", "[X]");
  const std::int64_t top_k = op.integer("top_k"), num_experts = op.size("X");
  op.check(top_k >= 1 && top_k <= num_experts, "top_k is ", top_k, "; it must be from 1 to the ", num_experts, " experts");
  op.check(routing.num_groups >= 1 && num_experts % routing.num_groups == 0 && routing.top_groups >= 1 &&
               routing.top_groups <= routing.num_groups && top_k <= routing.top_groups * (num_experts / routing.num_groups),
           "the top ", top_k, " of ", num_experts, " experts cannot come from ", routing.top_groups, " of ", routing.num_groups, " groups");
  op.write("[R, top_k]", ValueType::int32);    // ids
  op.write("[R, top_k]", ValueType::float32);  // weights
}

void lower_route(CpuLowering& op) {
  const ValueId logits = op.read(0), ids = op.write(0), weights = op.write(1);
  Routing routing = routing_of(op.attributes());
  if (const ArrayWeight* bias = op.weight_if<ArrayWeight>(0)) routing.bias = bias->values().data;
  op.run([=](const CpuFrame& f) { octavo::route(f[logits], routing, f.ints(ids), f[weights], f.pool); });
}

ActivateAndMul activation_of(const Attributes& attributes) {
  const std::string& name = attributes.text("activation");
  if (name == "clamped_swiglu") {
    const auto alpha = static_cast<float>(attributes.number("alpha")), limit = static_cast<float>(attributes.number("limit"));
    return [=](Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { octavo::clamped_swiglu(x, alpha, limit, y, pool); };
  }
  static const std::map<std::string, ActivateAndMul> known{
      {"silu", octavo::silu_and_mul}, {"gelu", octavo::gelu_and_mul}, {"gelu_pytorch_tanh", octavo::gelu_tanh_and_mul}};
  const auto found = known.find(name);
  require(found != known.end(), "activation ", name, " is unknown; known: clamped_swiglu, gelu, gelu_pytorch_tanh, silu");
  return found->second;
}

void infer_experts(Infer& op) {
  activation_of(op.attributes());
  if (op.attributes().has("weighs_input")) op.attributes().flag("weighs_input");
  op.weight("experts", "experts", "[X, F, E]");
  op.optional_weight("gate_up_bias", "array", "[X, 2*F]");
  op.optional_weight("down_bias", "array", "[X, E]");
  op.read("x", "[R, E]");
  op.read("ids", "[R, K]", ValueType::int32);
  op.read("weights", "[R, K]");
  op.write("[R, E]");
}

void lower_experts(CpuLowering& op) {
  const ValueId x = op.read(0), ids = op.read(1), weights = op.read(2), y = op.write(0);
  const ExpertsWeight& blocks = op.weight<ExpertsWeight>(0);
  const ActivateAndMul activate_and_mul = activation_of(op.attributes());
  const bool weighs_input = op.attributes().has("weighs_input") && op.attributes().flag("weighs_input");
  const auto values = [&](std::size_t index) {
    const ArrayWeight* bias = op.weight_if<ArrayWeight>(index);
    return bias ? bias->values().data : nullptr;
  };
  const float *gate_up_bias = values(1), *down_bias = values(2);
  const std::int64_t top_k = op.cols(ids), max_rows = op.max_rows(x);
  const int memory = op.scratch(ExpertsScratch::num_bytes(max_rows, top_k, blocks));
  if (blocks.quantizes_activations()) {
    op.reserve_pool_scratch(QuantizedRows::num_bytes(max_rows, std::max(blocks.hidden_size(), blocks.size())));
  }
  op.run([=, &blocks](const CpuFrame& f) {
    const Matrix<float> input = f[x];
    const ExpertsScratch scratch = ExpertsScratch::in(f.scratch(memory), input.rows, top_k, blocks);
    run_experts(input, {f.ints(ids), f[weights], blocks, activate_and_mul, gate_up_bias, down_bias, weighs_input}, scratch, f[y], f.pool);
  });
}

}  // namespace

OCTAVO_DEFINE_OP(route, infer_route, lower_route);
OCTAVO_DEFINE_OP(experts, infer_experts, lower_experts);

}  // namespace octavo::program
