#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/linear/linear_lower_cuda.h"
#include "ops/norm/norm_cuda.h"

namespace octavo::cuda {

void lower_rms_norm(OpLowering& op) {
  op.take(lower_norm(op, {op.read(0), op.write(), op.op.weights[0].get(), op.op.attributes.number("eps")}, 1));
}

void lower_layer_norm(OpLowering& op) {
  const auto& weight = op.weight<ArrayWeight>(0);
  const float* bias = op.has_weight(1) ? op.weight<ArrayWeight>(1).values() : nullptr;
  const auto x = op.read(0), y = op.write();
  const std::int64_t group = weight.shape().back();
  const auto eps = static_cast<float>(op.op.attributes.number("eps"));
  op.launch("layer_norm", [=, &weight](const Frame& f) { layer_norm(f[x], weight.values(), bias, group, eps, f[y], f.stream); });
}

void lower_add_rms_norm(OpLowering& op) {
  const auto& weight = op.weight<ArrayWeight>(0);
  const auto x = op.read(0), residual = op.read(1), y = op.write(0), sum = op.write(1);
  const auto eps = static_cast<float>(op.op.attributes.number("eps"));
  op.launch("add_rms_norm",
            [=, &weight](const Frame& f) { add_rms_norm(f[x], f[residual], weight.values(), eps, f[y], f[sum], f.stream); });
}

}  // namespace octavo::cuda
