#include "ops/attention/cross_attention.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"

namespace octavo::program {
namespace {

void infer_cross_attention(Infer& op) {
  const std::int64_t heads = op.integer("num_heads"), positions = op.integer("num_positions");
  op.attributes().number("scale");
  op.check(heads >= 1 && positions >= 1, heads, " heads over ", positions, " positions");
  op.read("q", "[tokens, num_heads*D]");
  const std::int64_t elements = cross_state_elements(static_cast<int>(heads), static_cast<int>(op.size("D")), positions);
  op.check(op.state() == elements, "the state has ", op.state(), " elements, expected ", elements);
  op.write("[tokens, num_heads*D]");
}

void lower_cross_attention(CpuLowering& op) {
  const ValueId q = op.read(0), y = op.write(0);
  CrossAttention settings;
  settings.num_heads = static_cast<int>(op.attributes().integer("num_heads"));
  settings.num_positions = op.attributes().integer("num_positions");
  settings.scale = static_cast<float>(op.attributes().number("scale"));
  const std::int64_t state = op.state();
  op.run([=](const CpuFrame& f) {
    CrossAttention attention = settings;
    attention.query_indptr = f.step.query_indptr;
    attention.rows = f.step.rows;
    octavo::cross_attention(f[q], attention, f.states(state), f[y], f.pool);
  });
}

}  // namespace

OCTAVO_DEFINE_OP(cross_attention, infer_cross_attention, lower_cross_attention);

}  // namespace octavo::program
