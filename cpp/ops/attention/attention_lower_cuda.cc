#include "cuda/lower_ops.h"
#include "cuda/weights.h"

namespace octavo::cuda {

void lower_paged_attention(OpLowering& op) {
  const program::CacheSpec& spec = op.context.graph.cache_spec_of(op.op);
  const program::Attributes& attributes = op.op.attributes;
  const auto values = [&](std::size_t weight) { return op.has_weight(weight) ? op.weight<ArrayWeight>(weight).values() : nullptr; };
  const float *slopes = values(0), *sinks = values(1);
  AttentionShape shape;
  shape.activation = op.context.activation;
  shape.kv = op.context.kv;
  shape.num_heads = static_cast<int>(attributes.integer("num_heads"));
  shape.num_kv_heads = static_cast<int>(spec.kv_heads);
  shape.head_dim = static_cast<int>(spec.head_dim);
  shape.scale = static_cast<float>(attributes.number("scale"));
  shape.window = static_cast<int>(attributes.integer_if("window").value_or(spec.window.value_or(0)));
  shape.softcap = static_cast<float>(attributes.number_if("softcap").value_or(0.0));
  shape.chunk = static_cast<int>(attributes.integer_if("chunk").value_or(0));
  shape.alibi = slopes != nullptr;
  shape.sinks = sinks != nullptr;
  Attention* attention = op.context.attention(shape);
  const auto q = op.read(0), y = op.write();
  const int cache = op.op.cache.value();
  const auto pages = op.context.layer_pages;
  op.launch("paged_attention", [=](const Frame& f) { attention->run(f[q], {pages(cache), slopes, sinks}, f[y], f.stream); });
}

void lower_mla_attention(OpLowering& op) {
  const program::CacheSpec& spec = op.context.graph.cache_spec_of(op.op);
  AttentionShape shape;
  shape.activation = op.context.activation;
  shape.kv = op.context.kv;
  shape.num_heads = static_cast<int>(op.op.attributes.integer("num_heads"));
  shape.num_kv_heads = 1;
  shape.head_dim = static_cast<int>(spec.head_dim);
  shape.latent_dim = static_cast<int>(spec.latent_dim);
  shape.scale = static_cast<float>(op.op.attributes.number("scale"));
  Attention* attention = op.context.attention(shape);
  const auto q = op.read(0), q_rope = op.read(1), y = op.write();
  const int cache = op.op.cache.value();
  const auto pages = op.context.layer_pages;
  op.launch("mla_attention", [=](const Frame& f) {
    AttentionLayer layer(pages(cache));
    layer.q_rope = f[q_rope];
    attention->run(f[q], layer, f[y], f.stream);
  });
}

}  // namespace octavo::cuda
