#include "cuda/lower_ops.h"
#include "cuda/weights.h"

namespace octavo::cuda {

// `linear` and `lm_head` differ in the type of what they write alone.
void lower_linear(OpLowering& op) {
  const DeviceMatrix weight = op.weight<MatrixWeight>(0).matrix();
  const Bias bias = op.has_weight(1) ? op.weight<ArrayWeight>(1).bias() : Bias{};
  const auto x = op.read(0), y = op.write();
  Products* products = op.context.products;
  op.launch(op.op.name, [=](const Frame& f) {
    if (f.measuring) products->measure(f[x], weight, bias, f[y], f.stream);
    products->product(f[x], weight, bias, f[y], f.stream);
  });
}

}  // namespace octavo::cuda
