#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/embedding/embedding_cuda.h"

namespace octavo::cuda {

void lower_embedding(OpLowering& op) {
  const DeviceMatrix table = op.weight<MatrixWeight>(0).matrix();
  const auto y = op.write();
  const auto scale = static_cast<float>(op.op.attributes.number_if("scale").value_or(1.0));
  op.launch("embedding", [=](const Frame& f) { embedding(f.step.token_ids, f.step.last_ids, table, scale, f[y], f.stream); });
}

}  // namespace octavo::cuda
