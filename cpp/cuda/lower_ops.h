// The ops that this library computes; each lowering stands in its op's folder.
#pragma once
#include "cuda/lowering.h"

namespace octavo::cuda {

void lower_add(OpLowering& op);
void lower_add_rms_norm(OpLowering& op);
void lower_embedding(OpLowering& op);
void lower_experts(OpLowering& op);
void lower_gelu(OpLowering& op);
void lower_gelu_and_mul(OpLowering& op);
void lower_gelu_tanh(OpLowering& op);
void lower_gelu_tanh_and_mul(OpLowering& op);
void lower_head_linear(OpLowering& op);
void lower_layer_norm(OpLowering& op);
void lower_linear(OpLowering& op);
void lower_mla_attention(OpLowering& op);
void lower_mul(OpLowering& op);
void lower_paged_attention(OpLowering& op);
void lower_position_embedding(OpLowering& op);
void lower_quick_gelu(OpLowering& op);
void lower_relu(OpLowering& op);
void lower_relu_squared(OpLowering& op);
void lower_rms_norm(OpLowering& op);
void lower_rotary_embedding(OpLowering& op);
void lower_route(OpLowering& op);
void lower_scale(OpLowering& op);
void lower_select_logits_rows(OpLowering& op);
void lower_sigmoid(OpLowering& op);
void lower_sigmoid_gate(OpLowering& op);
void lower_silu(OpLowering& op);
void lower_silu_and_mul(OpLowering& op);
void lower_softcap(OpLowering& op);
void lower_store_kv(OpLowering& op);
void lower_store_latent(OpLowering& op);
void lower_tanh(OpLowering& op);

}  // namespace octavo::cuda
