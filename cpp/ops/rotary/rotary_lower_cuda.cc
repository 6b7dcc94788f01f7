#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/rotary/rotary_cuda.h"

namespace octavo::cuda {
namespace {

RotaryTable table_of(const ArrayWeight& weight) { return {weight.values(), static_cast<int>(weight.shape().back())}; }

// rotary_embedding(q), rotary_embedding(k), store_kv(k, v): one launch, where nothing else reads the rotated k.
bool lower_with_store(OpLowering& op) {
  const program::Op *k_op = op.next(1), *store = op.next(2);
  if (!k_op || !store || k_op->name != "rotary_embedding" || store->name != "store_kv") return false;
  const int head_dim = static_cast<int>(op.op.attributes.integer("head_dim"));
  if (k_op->weights[0] != op.op.weights[0] || k_op->attributes.integer("head_dim") != head_dim || store->reads[0] != k_op->writes[0] ||
      !op.read_last_by(k_op->writes[0], 2)) {
    return false;
  }
  const RotaryTable table = table_of(op.weight<ArrayWeight>(0));
  const auto q = op.read(0), y = op.write(), k = k_op->reads[0], v = store->reads[1];
  const int cache = store->cache.value();
  const int num_kv_heads = static_cast<int>(op.context.graph.cache_spec_of(*store).kv_heads);
  const auto pages = op.context.layer_pages;
  const DType type = op.context.kv;
  op.launch("rotary_store_kv", [=](const Frame& f) {
    const KVDestination to{const_cast<void*>(pages(cache)), f.step.slot_mapping, num_kv_heads, head_dim, type};
    rotary_store_kv(f[q], f[k], f[v], f.step.attention.positions, table, f[y], to, f.stream);
  });
  op.take(2);
  return true;
}

}  // namespace

void lower_rotary_embedding(OpLowering& op) {
  if (lower_with_store(op)) return;
  const RotaryTable table = table_of(op.weight<ArrayWeight>(0));
  const auto x = op.read(0), y = op.write();
  const int head_dim = static_cast<int>(op.op.attributes.integer("head_dim"));
  op.launch("rotary_embedding",
            [=](const Frame& f) { rotary_embedding(f[x], f.step.attention.positions, table, head_dim, f[y], f.stream); });
}

void lower_store_kv(OpLowering& op) {
  const auto k = op.read(0), v = op.read(1);
  const program::CacheSpec& spec = op.context.graph.cache_spec_of(op.op);
  const int cache = op.op.cache.value(), num_kv_heads = static_cast<int>(spec.kv_heads), head_dim = static_cast<int>(spec.head_dim);
  const auto pages = op.context.layer_pages;
  const DType type = op.context.kv;
  op.launch("store_kv", [=](const Frame& f) {
    const KVDestination to{const_cast<void*>(pages(cache)), f.step.slot_mapping, num_kv_heads, head_dim, type};
    store_kv(f[k], f[v], to, f.stream);
  });
}

void lower_store_latent(OpLowering& op) {
  const auto latent = op.read(0), rope_key = op.read(1);
  const int cache = op.op.cache.value(), head_dim = static_cast<int>(op.context.graph.cache_spec_of(op.op).head_dim);
  const auto pages = op.context.layer_pages;
  const DType type = op.context.kv;
  op.launch("store_latent", [=](const Frame& f) {
    store_latent(f[latent], f[rope_key], {const_cast<void*>(pages(cache)), f.step.slot_mapping, 1, head_dim, type}, f.stream);
  });
}

}  // namespace octavo::cuda
