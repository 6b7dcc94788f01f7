#include "ops/norm/norm.h"
#include "program/cpu_lowering.h"
#include "program/op_def.h"
#include "weights/array_weight.h"

namespace octavo::program {
namespace {

void infer_rms_norm(Infer& op) {
  op.attributes().number("eps");
  op.weight("weight", "array", "[S]");
  op.read("x", "[R, G*S]");
  op.write("[R, G*S]");
}

void lower_rms_norm(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const Span<const float> weight = op.weight<ArrayWeight>(0).values();
  const auto eps = static_cast<float>(op.attributes().number("eps"));
  op.run([=](const CpuFrame& f) { octavo::rms_norm(f[x], weight, eps, f[y], f.pool); });
}

void infer_layer_norm(Infer& op) {
  op.attributes().number("eps");
  op.weight("weight", "array", "[S]");
  op.optional_weight("bias", "array", "[S]");
  op.read("x", "[R, G*S]");
  op.write("[R, G*S]");
}

void lower_layer_norm(CpuLowering& op) {
  const ValueId x = op.read(0), y = op.write(0);
  const Span<const float> weight = op.weight<ArrayWeight>(0).values();
  const ArrayWeight* shift = op.weight_if<ArrayWeight>(1);
  const Span<const float> bias = shift == nullptr ? Span<const float>{} : shift->values();
  const auto eps = static_cast<float>(op.attributes().number("eps"));
  op.run([=](const CpuFrame& f) { octavo::layer_norm(f[x], weight, bias, eps, f[y], f.pool); });
}

void infer_add_rms_norm(Infer& op) {
  op.attributes().number("eps");
  op.weight("weight", "array", "[C]");
  op.read("x", "[R, C]");
  op.read("residual", "[R, C]");
  op.write("[R, C]");  // the norm
  op.write("[R, C]");  // the sum
}

void lower_add_rms_norm(CpuLowering& op) {
  const ValueId x = op.read(0), residual = op.read(1), y = op.write(0), sum = op.write(1);
  const Span<const float> weight = op.weight<ArrayWeight>(0).values();
  const auto eps = static_cast<float>(op.attributes().number("eps"));
  op.run([=](const CpuFrame& f) { octavo::add_rms_norm(f[x], f[residual], weight, eps, f[y], f[sum], f.pool); });
}

}  // namespace

OCTAVO_DEFINE_OP(rms_norm, infer_rms_norm, lower_rms_norm);
OCTAVO_DEFINE_OP(layer_norm, infer_layer_norm, lower_layer_norm);
OCTAVO_DEFINE_OP(add_rms_norm, infer_add_rms_norm, lower_add_rms_norm);

}  // namespace octavo::program
