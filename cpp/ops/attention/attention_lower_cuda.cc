#include <stdexcept>

#include "cuda/lower_ops.h"

namespace octavo::cuda {

void lower_paged_attention(OpLowering& op) {
  const program::CacheSpec& spec = op.context.graph.cache_spec_of(op.op);
  AttentionShape shape;
  shape.activation = shape.kv = op.context.activation;
  shape.num_heads = static_cast<int>(op.op.attributes.integer("num_heads"));
  shape.num_kv_heads = static_cast<int>(spec.kv_heads);
  shape.head_dim = static_cast<int>(spec.head_dim);
  shape.scale = static_cast<float>(op.op.attributes.number("scale"));
  shape.window = static_cast<int>(op.op.attributes.integer_if("window").value_or(spec.window.value_or(0)));
  shape.softcap = static_cast<float>(op.op.attributes.number_if("softcap").value_or(0.0));
  if (op.has_weight(0)) throw std::invalid_argument("paged_attention: linear biases (alibi_slopes) are not computed on a GPU yet");
  if (op.has_weight(1)) throw std::invalid_argument("paged_attention: attention sinks are not computed on a GPU yet");
  if (op.op.attributes.has("chunk")) throw std::invalid_argument("paged_attention: chunks are not computed on a GPU yet");
  Attention* attention = op.context.attention(shape);
  const auto q = op.read(0), y = op.write();
  const int cache = op.op.cache.value();
  const auto pages = op.context.layer_pages;
  op.launch("paged_attention", [=](const Frame& f) { attention->run(f[q], pages(cache), f[y], f.stream); });
}

}  // namespace octavo::cuda
