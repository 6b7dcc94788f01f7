#include "ops/linear/linear.h"
#include "ops/linear/lm_head.h"
#include "ops/linear/quantized_rows.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

void infer_linear(Infer& op) {
  op.weight("weight", "linear", "[N, K]");
  op.read("x", "[R, K]");
  op.optional_weight("bias", "array", "[N]");
  op.write("[R, N]");
}

void reserve_scratch(CpuLowering& op, const LinearWeight& weight, ValueId x) {
  if (weight.quantizes_activations()) op.reserve_pool_scratch(QuantizedRows::num_bytes(op.max_rows(x), weight.cols()));
}

void lower_linear(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const LinearWeight& weight = op.weight<LinearWeight>(0);
  const ArrayWeight* bias_weight = op.weight_if<ArrayWeight>(1);
  const float* bias = bias_weight ? bias_weight->values().data : nullptr;
  reserve_scratch(op, weight, x);
  if (op.is_of_tokens(x)) op.multiplies(weight.rows() * weight.cols());
  op.run([=, &weight](const CpuFrame& f) { octavo::linear(f[x], weight, bias, f[y], f.pool, f.ahead); });
}

void infer_lm_head(Infer& op) {
  op.weight("weight", "linear", "[V, E]");
  op.read("x", "[R, E]");
  op.write("[R, V]", ValueType::float32);
}

void lower_lm_head(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const LinearWeight& weight = op.weight<LinearWeight>(0);
  reserve_scratch(op, weight, x);
  op.run([=, &weight](const CpuFrame& f) { octavo::lm_head(f[x], weight, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(linear, infer_linear, lower_linear);
OCTAVO_DEFINE_OP(lm_head, infer_lm_head, lower_lm_head);

}  // namespace octavo::program
