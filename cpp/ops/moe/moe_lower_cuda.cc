#include <map>
#include <string>

#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/activation/activation_cuda.h"
#include "ops/moe/few_tokens_cuda.h"
#include "ops/moe/grouped_cuda.h"
#include "ops/moe/moe_cuda.h"

namespace octavo::cuda {

namespace {

const float* values_if(const OpLowering& op, std::size_t weight) {
  return op.has_weight(weight) ? op.weight<ArrayWeight>(weight).values() : nullptr;
}

Routing routing_of(const OpLowering& op) {
  static const std::map<std::string, Scoring> scorings{
      {"softmax", Scoring::softmax}, {"sigmoid", Scoring::sigmoid}, {"sparsemixer", Scoring::sparsemixer}};
  const program::Attributes& attributes = op.op.attributes;
  Routing routing;
  if (attributes.has("scoring")) routing.scoring = scorings.at(attributes.text("scoring"));
  routing.renormalise = attributes.flag("renormalise");
  routing.bias = values_if(op, 0);
  routing.num_groups = static_cast<int>(attributes.integer_if("num_groups").value_or(1));
  routing.top_groups = static_cast<int>(attributes.integer_if("top_groups").value_or(1));
  routing.group_best = static_cast<int>(attributes.integer_if("group_best").value_or(1));
  routing.scale = static_cast<float>(attributes.number_if("scale").value_or(1.0));
  routing.least_sum = static_cast<float>(attributes.number_if("least_sum").value_or(0.0));
  routing.jitter = static_cast<float>(attributes.number_if("jitter").value_or(0.0));
  return routing;
}

constexpr int kDeterministicTileRows = 64;  // every tile size has kernels and sums of its own

Gating gating_of(const program::Attributes& attributes) {
  const std::string& name = attributes.text("activation");
  if (name == "clamped_swiglu")
    return {Gate::clamped_swiglu, static_cast<float>(attributes.number("alpha")), static_cast<float>(attributes.number("limit"))};
  if (name == "silu") return Gate::silu;
  return name == "gelu" ? Gate::gelu_erf : Gate::gelu_tanh;
}

}  // namespace

void lower_route(OpLowering& op) {
  const auto logits = op.read(0), ids = op.write(0), weights = op.write(1);
  const Routing routing = routing_of(op);
  op.launch("route", [=](const Frame& f) { route(f[logits], routing, f[ids], f[weights], f.stream); });
}

void lower_experts(OpLowering& op) {
  const auto& weight = op.weight<ExpertsWeight>(0);
  GroupedWeights up = weight.gate_up(), down = weight.down();
  up.bias = values_if(op, 1);
  down.bias = values_if(op, 2);
  const auto x = op.read(0), ids = op.read(1), weights = op.read(2), y = op.write();
  const std::int64_t num_experts = weight.num_experts(), hidden_size = weight.shape()[2], expert_size = weight.shape()[1];
  const std::int64_t top_k = op.cols(ids), most = op.context.row_limits.at("tokens") * top_k;
  const Gating gating = gating_of(op.op.attributes);
  const bool weighs = op.op.attributes.has("weighs_input") && op.op.attributes.flag("weighs_input");
  const DType type = op.context.activation;
  const auto bytes = static_cast<std::int64_t>(size_of(type));
  const bool tiles = grouped_takes(up) && grouped_takes(down);
  const std::size_t arrays = op.scratch(SortedChoices::num_bytes(most, num_experts));
  const std::size_t hidden = op.scratch(most * expert_size * bytes), outputs = op.scratch(most * hidden_size * bytes),
                    gate_up = op.scratch(tiles ? 0 : most * 2 * expert_size * bytes);
  const bool deterministic = op.context.products && op.context.products->deterministic();
  op.launch("experts", [=](const Frame& f) {
    const DeviceMatrix tokens = f[x];
    const std::int64_t rows = tokens.rows * top_k;
    const SortedChoices sorted = SortedChoices::in(f.scratch(arrays), most, num_experts);
    const DeviceMatrix activated{f.scratch(hidden), rows, expert_size, expert_size, type},
        made{f.scratch(outputs), rows, hidden_size, hidden_size, type};
    if (!deterministic && few_tokens_take(tokens, up, down))
      return few_token_experts(gating, weighs, tokens, f[ids], f[weights], up, down, activated, f[y], f.stream);
    const int each = deterministic ? kDeterministicTileRows : tile_rows(rows, num_experts);
    sort_choices(f[ids], f[weights], num_experts, each, sorted, f.stream);
    if (tiles) {
      gated_grouped_product(gating, weighs, tokens, up, sorted, each, activated, f.stream);
      grouped_product(activated, down, sorted, each, made, f.stream);
    } else {
      const DeviceMatrix gates{f.scratch(gate_up), rows, 2 * expert_size, 2 * expert_size, type};
      const float* scales = weighs ? sorted.weights : nullptr;
      grouped_product(tokens, up, {sorted.offsets, sorted.sources, scales, tokens.rows}, gates, f.stream);
      gate_and_mul(gating, gates, activated, f.stream);
      grouped_product(activated, down, {sorted.offsets, nullptr, nullptr, tokens.rows}, made, f.stream);
    }
    combine(made, f[weights], weighs, sorted, f[y], f.stream);
  });
}

}  // namespace octavo::cuda
