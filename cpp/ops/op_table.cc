// Every op there is: one line each. Its definition stands in the folder of its family, <family>/<family>_op.cc.
#include "program/op_def.h"

#define OCTAVO_OPS(OP)   \
  OP(add)                \
  OP(add_rms_norm)       \
  OP(attention)          \
  OP(axis_rotation)      \
  OP(causal_conv)        \
  OP(choose_rows)        \
  OP(cross_attention)    \
  OP(delta_rule)         \
  OP(embedding)          \
  OP(experts)            \
  OP(gated_rms_norm)     \
  OP(gather_rows)        \
  OP(gelu)               \
  OP(gelu_and_mul)       \
  OP(gelu_tanh)          \
  OP(gelu_tanh_and_mul)  \
  OP(head_linear)        \
  OP(layer_norm)         \
  OP(linear)             \
  OP(lm_head)            \
  OP(lookup)             \
  OP(mla_attention)      \
  OP(mul)                \
  OP(paged_attention)    \
  OP(pool)               \
  OP(position_embedding) \
  OP(quick_gelu)         \
  OP(relu)               \
  OP(relu_squared)       \
  OP(rms_norm)           \
  OP(rotary_embedding)   \
  OP(rotate)             \
  OP(route)              \
  OP(scale)              \
  OP(select_logits_rows) \
  OP(sigmoid)            \
  OP(sigmoid_gate)       \
  OP(silu)               \
  OP(silu_and_mul)       \
  OP(softcap)            \
  OP(ssm_scan)           \
  OP(store_kv)           \
  OP(store_latent)       \
  OP(tanh)               \
  OP(weighted_lookup)

namespace octavo::program {

#define OCTAVO_DECLARE(name) extern const OpDef name##_op;
#define OCTAVO_ADDRESS(name) &name##_op,

OCTAVO_OPS(OCTAVO_DECLARE)

const OpDef& op_def(const std::string& name) {
  static constexpr const OpDef* ops[] = {OCTAVO_OPS(OCTAVO_ADDRESS)};
  std::string known;
  for (const OpDef* op : ops) {
    if (name == op->name) return *op;
    known += concat(known.empty() ? "" : ", ", op->name);
  }
  throw std::invalid_argument(concat("there is no op ", name, "; known: ", known));
}

}  // namespace octavo::program
