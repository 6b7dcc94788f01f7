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

const float* bias_of(const CpuLowering& op) {
  const ArrayWeight* bias = op.weight_if<ArrayWeight>(1);
  return bias ? bias->values().data : nullptr;
}

void lower_linear(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const LinearWeight& weight = op.weight<LinearWeight>(0);
  const float* bias = bias_of(op);
  reserve_scratch(op, weight, x);
  if (op.is_of_tokens(x)) op.multiplies(weight.rows() * weight.cols());
  op.run([=, &weight](const CpuFrame& f) { octavo::linear(f[x], weight, bias, f[y], f.pool, f.ahead); });
}

void infer_lm_head(Infer& op) {
  op.weight("weight", "linear", "[V, E]");
  op.read("x", "[R, E]");
  op.optional_weight("bias", "array", "[V]");
  op.write("[R, V]", ValueType::float32);
}

void lower_lm_head(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const LinearWeight& weight = op.weight<LinearWeight>(0);
  const float* bias = bias_of(op);
  reserve_scratch(op, weight, x);
  op.run([=, &weight](const CpuFrame& f) { octavo::lm_head(f[x], weight, bias, f[y], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(linear, infer_linear, lower_linear);
OCTAVO_DEFINE_OP(lm_head, infer_lm_head, lower_lm_head);

}  // namespace octavo::program
