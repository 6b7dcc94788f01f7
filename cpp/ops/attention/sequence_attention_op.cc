#include "ops/attention/sequence_attention.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

// Whether a token sees its window instead of its sequence.
bool is_windowed(const Attributes& attributes) { return attributes.has("windowed") && attributes.flag("windowed"); }

void infer_attention(Infer& op) {
  is_windowed(op.attributes());
  const std::int64_t heads = op.integer("num_heads"), kv_heads = op.integer("num_kv_heads");
  op.attributes().number("scale");
  const std::optional<std::int64_t> distance = op.attributes().integer_if("max_distance");
  op.check(!distance || *distance >= 0, "max_distance must not be negative");
  op.check(kv_heads >= 1 && heads >= 1 && heads % kv_heads == 0, heads, " heads are not a multiple of ", kv_heads, " key/value heads");
  op.read("q", "[tokens, num_heads*D]");
  op.read("k", "[tokens, num_kv_heads*D]");
  op.read("v", "[tokens, num_kv_heads*D]");
  op.write("[tokens, num_heads*D]");
}

void lower_attention(CpuLowering& op) {
  const ValueId q = op.read(0), k = op.read(1), v = op.read(2), y = op.write(0);
  SequenceAttention settings;
  settings.num_heads = static_cast<int>(op.attributes().integer("num_heads"));
  settings.num_kv_heads = static_cast<int>(op.attributes().integer("num_kv_heads"));
  settings.scale = static_cast<float>(op.attributes().number("scale"));
  if (const auto distance = op.attributes().integer_if("max_distance")) settings.max_distance = static_cast<int>(*distance);
  const auto head_dim = static_cast<int>(op.cols(q) / settings.num_heads);
  const bool windowed = is_windowed(op.attributes());
  const std::int64_t most = op.max_rows(windowed ? "windows" : "sequences");
  const int pages = op.scratch(sequence_attention_bytes(op.max_rows("tokens"), most, settings.num_kv_heads, head_dim));
  op.run([=](const CpuFrame& f) {
    SequenceAttention attention = settings;
    attention.query_indptr = windowed ? f.step.window_indptr : f.step.query_indptr;
    sequence_attention(f[q], f[k], f[v], attention, f[y], f.scratch(pages), f.pool);
  });
}

}  // namespace

OCTAVO_DEFINE_OP(attention, infer_attention, lower_attention);

}  // namespace octavo::program
