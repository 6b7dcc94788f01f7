#include <stdexcept>
#include <string>

#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/activation/activation_cuda.h"
#include "ops/moe/few_tokens_cuda.h"
#include "ops/moe/grouped_cuda.h"
#include "ops/moe/moe_cuda.h"

namespace octavo::cuda {

namespace {

// What the kernels here do not know yet changes the answer.
void refuse(bool given, const char* what) {
  if (given) throw std::invalid_argument(std::string(what) + " is not computed on a GPU yet");
}

}  // namespace

void lower_route(OpLowering& op) {
  const program::Attributes& attributes = op.op.attributes;
  refuse(attributes.has("scoring") && attributes.text("scoring") != "softmax", "route: a scoring other than softmax");
  refuse(op.has_weight(0), "route: a correction bias");
  refuse(attributes.integer_if("num_groups").value_or(1) != 1, "route: groups of experts");
  refuse(attributes.number_if("scale").value_or(1.0) != 1.0, "route: a scale of the weights");
  const auto logits = op.read(0), ids = op.write(0), weights = op.write(1);
  const bool renormalise = op.op.attributes.flag("renormalise");
  op.launch("route", [=](const Frame& f) { route(f[logits], renormalise, f[ids], f[weights], f.stream); });
}

void lower_experts(OpLowering& op) {
  refuse(op.has_weight(1) || op.has_weight(2), "experts: biases");
  refuse(op.op.attributes.text("activation") == "clamped_swiglu", "experts: the activation clamped_swiglu");
  refuse(op.op.attributes.has("weighs_input") && op.op.attributes.flag("weighs_input"), "experts: weights of their inputs");
  const auto& weight = op.weight<ExpertsWeight>(0);
  const auto x = op.read(0), ids = op.read(1), weights = op.read(2), y = op.write();
  const std::int64_t num_experts = weight.num_experts(), hidden_size = weight.shape()[2], expert_size = weight.shape()[1];
  const std::int64_t top_k = op.cols(ids), most = op.context.row_limits.at("tokens") * top_k;
  const std::string& activation = op.op.attributes.text("activation");
  const Gate gate = activation == "silu" ? Gate::silu : activation == "gelu" ? Gate::gelu_erf : Gate::gelu_tanh;
  const DType type = op.context.activation;
  const auto bytes = static_cast<std::int64_t>(size_of(type));
  const bool tiles = grouped_takes(weight.gate_up()) && grouped_takes(weight.down());
  const std::size_t arrays = op.scratch(SortedChoices::num_bytes(most, num_experts));
  const std::size_t hidden = op.scratch(most * expert_size * bytes), outputs = op.scratch(most * hidden_size * bytes),
                    gate_up = op.scratch(tiles ? 0 : most * 2 * expert_size * bytes);
  op.launch("experts", [=, &weight](const Frame& f) {
    const DeviceMatrix tokens = f[x];
    const std::int64_t rows = tokens.rows * top_k;
    const SortedChoices sorted = SortedChoices::in(f.scratch(arrays), most, num_experts);
    const DeviceMatrix activated{f.scratch(hidden), rows, expert_size, expert_size, type},
        made{f.scratch(outputs), rows, hidden_size, hidden_size, type};
    if (few_tokens_take(tokens, weight.gate_up(), weight.down()))
      return few_token_experts(gate, tokens, f[ids], f[weights], weight.gate_up(), weight.down(), activated, f[y], f.stream);
    const int each = tile_rows(rows, num_experts);
    sort_choices(f[ids], num_experts, each, sorted, f.stream);
    if (tiles) {
      gated_grouped_product(gate, tokens, weight.gate_up(), sorted, each, activated, f.stream);
      grouped_product(activated, false, weight.down(), sorted, each, made, f.stream);
    } else {
      const DeviceMatrix gates{f.scratch(gate_up), rows, 2 * expert_size, 2 * expert_size, type};
      grouped_product(tokens, weight.gate_up(), {sorted.offsets, sorted.sources, tokens.rows}, gates, f.stream);
      gate_and_mul(gate, gates, activated, f.stream);
      grouped_product(activated, weight.down(), {sorted.offsets, nullptr, tokens.rows}, made, f.stream);
    }
    combine(made, f[weights], sorted, f[y], f.stream);
  });
}

}  // namespace octavo::cuda
