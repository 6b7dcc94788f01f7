#include <cmath>

#include "ops/state/state.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

StateStep step_of(const CpuFrame& f) { return {f.step.query_indptr, f.step.context_lens, f.step.rows}; }

void check_state(Infer& op, std::int64_t num_elements) {
  const std::int64_t found = op.state();
  op.check(found == num_elements, "the state has ", found, " elements, expected ", num_elements);
}

void infer_causal_conv(Infer& op) {
  op.read("x", "[tokens, C]");
  op.weight("weight", "array", "[K, C]");
  op.optional_weight("bias", "array", "[C]");
  op.check(op.size("K") >= 2, "the weight has ", op.size("K"), " taps");
  check_state(op, (op.size("K") - 1) * op.size("C"));
  op.write("[tokens, C]");
}

void lower_causal_conv(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const Matrix<const float> weight = op.weight<ArrayWeight>(0).matrix();
  const ArrayWeight* bias = op.weight_if<ArrayWeight>(1);
  const float* values = bias ? bias->values().data : nullptr;
  const std::int64_t state = op.state();
  op.run([=](const CpuFrame& f) { octavo::causal_conv(f[x], weight, values, step_of(f), f.states(state), f[y], f.pool); });
}

void infer_ssm_scan(Infer& op) {
  const std::int64_t heads = op.integer("num_heads");
  op.check(heads >= 1 && op.integer("num_groups") >= 1 && heads % op.integer("num_groups") == 0, heads, " heads in ",
           op.integer("num_groups"), " groups");
  op.attributes().number("dt_min");
  op.read("x", "[tokens, num_heads*P]");
  op.read("b", "[tokens, num_groups*N]");
  op.read("c", "[tokens, num_groups*N]");
  op.read("dt", "[tokens, num_heads]");
  op.weight("a", "array", "[num_heads]");
  op.weight("dt_bias", "array", "[num_heads]");
  op.weight("d", "array", "[num_heads]");
  check_state(op, heads * op.size("N") * padded_state_cols(op.size("P")));
  op.write("[tokens, num_heads*P]");
}

void lower_ssm_scan(CpuLowering& op) {
  const ValueId x = op.read(0), b = op.read(1), c = op.read(2), dt = op.read(3), y = op.write(0);
  const auto values = [&](std::size_t i) { return op.weight<ArrayWeight>(i).values().data; };
  SsmScan scan{};
  scan.a = values(0), scan.dt_bias = values(1), scan.d = values(2);
  scan.num_heads = static_cast<int>(op.attributes().integer("num_heads"));
  scan.num_groups = static_cast<int>(op.attributes().integer("num_groups"));
  scan.dt_min = static_cast<float>(op.attributes().number("dt_min"));
  scan.dt_max = static_cast<float>(op.attributes().number_if("dt_max").value_or(INFINITY));
  const std::int64_t state = op.state();
  op.run([=](const CpuFrame& f) {
    SsmScan bound = scan;
    bound.x = f[x], bound.b = f[b], bound.c = f[c], bound.dt = f[dt];
    octavo::ssm_scan(bound, step_of(f), f.states(state), f[y], f.pool);
  });
}

void infer_delta_rule(Infer& op) {
  const std::int64_t heads = op.integer("num_heads"), key_heads = op.integer("num_key_heads");
  op.check(heads >= 1 && key_heads >= 1 && heads % key_heads == 0, heads, " heads of ", key_heads, " key heads");
  op.read("q", "[tokens, num_key_heads*D]");
  op.read("k", "[tokens, num_key_heads*D]");
  op.read("v", "[tokens, num_heads*P]");
  op.read("b", "[tokens, num_heads]");
  op.read("dt", "[tokens, num_heads]");
  op.weight("a", "array", "[num_heads]");
  op.weight("dt_bias", "array", "[num_heads]");
  check_state(op, heads * op.size("D") * padded_state_cols(op.size("P")));
  op.write("[tokens, num_heads*P]");
}

void lower_delta_rule(CpuLowering& op) {
  const ValueId q = op.read(0), k = op.read(1), v = op.read(2), b = op.read(3), dt = op.read(4), y = op.write(0);
  DeltaRule rule{};
  rule.a = op.weight<ArrayWeight>(0).values().data;
  rule.dt_bias = op.weight<ArrayWeight>(1).values().data;
  rule.num_heads = static_cast<int>(op.attributes().integer("num_heads"));
  rule.num_key_heads = static_cast<int>(op.attributes().integer("num_key_heads"));
  const std::int64_t state = op.state();
  op.run([=](const CpuFrame& f) {
    DeltaRule bound = rule;
    bound.q = f[q], bound.k = f[k], bound.v = f[v], bound.b = f[b], bound.dt = f[dt];
    octavo::delta_rule(bound, step_of(f), f.states(state), f[y], f.pool);
  });
}

void infer_gated_rms_norm(Infer& op) {
  op.attributes().number("eps");
  op.attributes().flag("norm_first");
  op.read("x", "[R, C]");
  op.read("gate", "[R, C]");
  op.weight("weight", "array", "[W]");
  const std::int64_t group = op.integer("group_size"), weight = op.size("W");
  op.check(group >= 1 && op.size("C") % group == 0 && (weight == group || weight == op.size("C")), "groups of ", group, " and a weight of ",
           weight, " do not fit ", op.size("C"), " columns");
  op.write("[R, C]");
}

void lower_gated_rms_norm(CpuLowering& op) {
  const ValueId x = op.read(0), gate = op.read(1), y = op.write(0);
  const GatedNorm norm{op.weight<ArrayWeight>(0).values(), op.attributes().integer("group_size"),
                       static_cast<float>(op.attributes().number("eps")), op.attributes().flag("norm_first")};
  op.run([=](const CpuFrame& f) { octavo::gated_rms_norm(f[x], f[gate], norm, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(causal_conv, infer_causal_conv, lower_causal_conv);
OCTAVO_DEFINE_OP(ssm_scan, infer_ssm_scan, lower_ssm_scan);
OCTAVO_DEFINE_OP(delta_rule, infer_delta_rule, lower_delta_rule);
OCTAVO_DEFINE_OP(gated_rms_norm, infer_gated_rms_norm, lower_gated_rms_norm);

}  // namespace octavo::program
