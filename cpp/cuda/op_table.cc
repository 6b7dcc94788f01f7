#include <map>

#include "cuda/lower_ops.h"

namespace octavo::cuda {

LowerFunction lower_function(const std::string& name) {
  static const std::map<std::string, LowerFunction> functions{
      {"add", lower_add},
      {"add_rms_norm", lower_add_rms_norm},
      {"embedding", lower_embedding},
      {"experts", lower_experts},
      {"gelu", lower_gelu},
      {"gelu_and_mul", lower_gelu_and_mul},
      {"gelu_tanh", lower_gelu_tanh},
      {"gelu_tanh_and_mul", lower_gelu_tanh_and_mul},
      {"head_linear", lower_head_linear},
      {"layer_norm", lower_layer_norm},
      {"linear", lower_linear},
      {"lm_head", lower_linear},
      {"mla_attention", lower_mla_attention},
      {"mul", lower_mul},
      {"paged_attention", lower_paged_attention},
      {"position_embedding", lower_position_embedding},
      {"quick_gelu", lower_quick_gelu},
      {"relu", lower_relu},
      {"relu_squared", lower_relu_squared},
      {"rms_norm", lower_rms_norm},
      {"rotary_embedding", lower_rotary_embedding},
      {"route", lower_route},
      {"scale", lower_scale},
      {"select_logits_rows", lower_select_logits_rows},
      {"sigmoid", lower_sigmoid},
      {"sigmoid_gate", lower_sigmoid_gate},
      {"silu", lower_silu},
      {"silu_and_mul", lower_silu_and_mul},
      {"softcap", lower_softcap},
      {"store_kv", lower_store_kv},
      {"store_latent", lower_store_latent},
      {"tanh", lower_tanh},
  };
  const auto found = functions.find(name);
  require(found != functions.end(), "there is no CUDA kernel for the op ", name, "; use --device cpu");
  return found->second;
}

}  // namespace octavo::cuda
