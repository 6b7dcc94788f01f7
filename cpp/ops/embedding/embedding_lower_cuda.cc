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

void lower_position_embedding(OpLowering& op) {
  const DeviceMatrix all = op.weight<MatrixWeight>(0).matrix();
  const std::int64_t offset = op.op.attributes.integer("offset");
  const DeviceMatrix table{static_cast<unsigned char*>(all.data) + offset * all.row_bytes(), all.rows - offset, all.cols, all.stride,
                           all.type};
  const auto y = op.write();
  op.launch("position_embedding", [=](const Frame& f) { embedding(f.step.attention.positions, nullptr, table, 1.0f, f[y], f.stream); });
}

}  // namespace octavo::cuda
