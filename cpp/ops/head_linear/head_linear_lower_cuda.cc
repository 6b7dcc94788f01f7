#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/head_linear/head_linear_cuda.h"

namespace octavo::cuda {

void lower_head_linear(OpLowering& op) {
  const auto& weight = op.weight<ArrayWeight>(0);
  const std::int64_t num_heads = op.op.attributes.integer("num_heads"), rows = weight.shape()[0], cols = weight.shape()[1];
  const DeviceMatrix matrix{const_cast<void*>(weight.bias().typed), rows, cols, cols, op.context.activation};
  const auto x = op.read(0), y = op.write();
  op.launch("head_linear", [=](const Frame& f) { head_linear(f[x], matrix, num_heads, f[y], f.stream); });
}

}  // namespace octavo::cuda
