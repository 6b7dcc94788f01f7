#include "cuda/lower_ops.h"
#include "ops/gather/gather_cuda.h"

namespace octavo::cuda {

void lower_select_logits_rows(OpLowering& op) {
  const auto x = op.read(0), y = op.write();
  op.launch("select_logits_rows", [=](const Frame& f) { select_rows(f[x], f.step.logits_indices, f[y], f.stream); });
}

}  // namespace octavo::cuda
