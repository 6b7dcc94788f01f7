#include "ops/attention/attention.h"
#include "ops/attention/attention_plan.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

void infer_store_kv(Infer& op) {
  const CacheSpec& spec = op.cache(CacheSpec::Kind::paged_kv);
  op.read("k", "[tokens, C]");
  op.read("v", "[tokens, C]");
  op.check(op.size("C") == spec.kv_heads * spec.head_dim, "k has ", op.size("C"), " columns, the cache ", spec.kv_heads, " heads of ",
           spec.head_dim);
}

void lower_store_kv(CpuLowering& op) {
  const ValueId k = op.read(0), v = op.read(1);
  const auto group = static_cast<std::int64_t>(op.group());
  const int layer = op.layer();
  op.run([=, &pages = op.pages()](const CpuFrame& f) {
    octavo::store_kv(f[k], f[v], pages, layer, f.step.caches[group].slot_mapping, f.pool);
  });
}

void infer_paged_attention(Infer& op) {
  const CacheSpec& spec = op.cache(CacheSpec::Kind::paged_kv);
  const std::int64_t num_heads = op.integer("num_heads");
  op.attributes().number("scale");
  const std::optional<double> softcap = op.attributes().number_if("softcap");
  op.check(!softcap || *softcap > 0, "softcap must be greater than 0");
  op.check(op.attributes().integer_if("chunk").value_or(1) >= 1, "chunk must be at least 1");
  op.check(num_heads >= 1 && num_heads % spec.kv_heads == 0, num_heads, " heads are not a multiple of ", spec.kv_heads, " key/value heads");
  op.read("q", "[tokens, C]");
  op.check(op.size("C") == num_heads * spec.head_dim, "q has ", op.size("C"), " columns, expected ", num_heads, " heads of ",
           spec.head_dim);
  op.optional_weight("alibi_slopes", "array", "[num_heads]");
  op.optional_weight("sinks", "array", "[num_heads]");
  op.write("[tokens, C]");
}

void infer_store_latent(Infer& op) {
  const CacheSpec& spec = op.cache(CacheSpec::Kind::latent_kv);
  op.read("latent", "[tokens, L]");
  op.read("rope_key", "[tokens, R]");
  op.check(op.size("L") == spec.latent_dim && op.size("R") == spec.head_dim - spec.latent_dim, "the parts have ", op.size("L"), " and ",
           op.size("R"), " columns, the cache holds ", spec.latent_dim, " of ", spec.head_dim);
}

void lower_store_latent(CpuLowering& op) {
  const ValueId latent = op.read(0), rope_key = op.read(1);
  const auto group = static_cast<std::int64_t>(op.group());
  const int layer = op.layer();
  op.run([=, &pages = op.pages()](const CpuFrame& f) {
    octavo::store_latent(f[latent], f[rope_key], pages, layer, f.step.caches[group].slot_mapping, f.pool);
  });
}

void infer_mla_attention(Infer& op) {
  const CacheSpec& spec = op.cache(CacheSpec::Kind::latent_kv);
  const std::int64_t num_heads = op.integer("num_heads");
  op.attributes().number("scale");
  op.check(num_heads >= 1, "num_heads is ", num_heads);
  op.read("q", "[tokens, num_heads*L]");
  op.read("q_rope", "[tokens, num_heads*R]");
  op.check(op.size("L") == spec.latent_dim && op.size("R") == spec.head_dim - spec.latent_dim, "heads of ", op.size("L"), " and ",
           op.size("R"), " elements, the cache holds ", spec.latent_dim, " of ", spec.head_dim);
  op.write("[tokens, num_heads*L]");
}

// How a step's attention is cut into tasks: the same for every layer of a group of caches with as many heads.
class SharedPlan : public CpuPlan {
 public:
  SharedPlan(const KVCache& cache, std::int64_t group, PagedAttention settings, int num_threads, std::int64_t max_requests)
      : cache_(cache), group_(group), attention_(settings), num_threads_(num_threads), plan_(max_requests) {}

  void prepare(const StepArrays& step) override {
    attention_.query_indptr = step.query_indptr;
    attention_.context_lens = step.context_lens;
    attention_.block_tables = step.caches[group_].block_tables;
    plan_.prepare(attention_, cache_, num_threads_);
  }
  const PagedAttention& attention() const { return attention_; }
  const AttentionPlan& plan() const { return plan_; }

 private:
  const KVCache& cache_;
  std::int64_t group_;
  PagedAttention attention_;
  int num_threads_;
  AttentionPlan plan_;
};

const SharedPlan& shared_plan(CpuLowering& op) {
  const auto group = static_cast<std::int64_t>(op.group());
  PagedAttention settings;
  settings.num_heads = static_cast<int>(op.attributes().integer("num_heads"));
  if (const auto window = op.cache_spec().window) settings.window = static_cast<int>(*window);
  return op.plan<SharedPlan>(concat("attention of group ", group, " with ", settings.num_heads, " heads"), [&] {
    return std::make_unique<SharedPlan>(op.pages(), group, settings, op.pool().num_threads(), op.max_rows("tokens"));
  });
}

void lower_mla_attention(CpuLowering& op) {
  const ValueId q = op.read(0), q_rope = op.read(1), y = op.write(0);
  const KVCache& pages = op.pages();
  const int layer = op.layer();
  const SharedPlan& shared = shared_plan(op);
  const auto scale = static_cast<float>(op.attributes().number("scale"));
  op.reads_cache();
  op.run([=, &pages, &shared](const CpuFrame& f) {
    PagedAttention attention = shared.attention();
    attention.scale = scale;
    attention.q_rope = f[q_rope];
    octavo::paged_attention(f[q], pages, layer, attention, shared.plan(), f[y], f.pool);
  });
}

void lower_paged_attention(CpuLowering& op) {
  const ValueId q = op.read(0), y = op.write(0);
  const KVCache& pages = op.pages();
  const int layer = op.layer();
  const SharedPlan& shared = shared_plan(op);
  const auto scale = static_cast<float>(op.attributes().number("scale"));
  const std::optional<double> softcap = op.attributes().number_if("softcap");
  const std::optional<std::int64_t> chunk = op.attributes().integer_if("chunk");
  const ArrayWeight *slopes = op.weight_if<ArrayWeight>(0), *sinks = op.weight_if<ArrayWeight>(1);
  op.reads_cache();
  op.run([=, &pages, &shared, cap = softcap ? std::optional<float>(static_cast<float>(*softcap)) : std::nullopt](const CpuFrame& f) {
    PagedAttention attention = shared.attention();
    attention.scale = scale;
    attention.softcap = cap;
    if (chunk) attention.chunk = static_cast<int>(*chunk);
    if (slopes) attention.alibi_slopes = slopes->values().data;
    if (sinks) attention.sinks = sinks->values().data;
    octavo::paged_attention(f[q], pages, layer, attention, shared.plan(), f[y], f.pool);
  });
}

}  // namespace

OCTAVO_DEFINE_OP(store_kv, infer_store_kv, lower_store_kv);
OCTAVO_DEFINE_OP(store_latent, infer_store_latent, lower_store_latent);
OCTAVO_DEFINE_OP(mla_attention, infer_mla_attention, lower_mla_attention);
OCTAVO_DEFINE_OP(paged_attention, infer_paged_attention, lower_paged_attention);

}  // namespace octavo::program
