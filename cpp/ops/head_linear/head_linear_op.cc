#include "ops/head_linear/head_linear.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

void infer_head_linear(Infer& op) {
  op.check(op.integer("num_heads") >= 1, "num_heads is ", op.integer("num_heads"));
  op.weight("weight", "array", "[num_heads*K, N]");
  op.read("x", "[R, num_heads*K]");
  op.write("[R, num_heads*N]");
}

void lower_head_linear(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const ArrayWeight& weight = op.weight<ArrayWeight>(0);
  const std::int64_t num_heads = op.attributes().integer("num_heads");
  op.run([=, &weight](const CpuFrame& f) { octavo::head_linear(f[x], weight.matrix(), num_heads, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(head_linear, infer_head_linear, lower_head_linear);

}  // namespace octavo::program
