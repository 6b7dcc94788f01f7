#include "cuda/lower_ops.h"
#include "cuda/weights.h"
#include "ops/norm/norm_cuda.h"

namespace octavo::cuda {
namespace {

// The add_rms_norm that follows and alone reads the product: null where another op does.
const program::Op* adding_norm(const OpLowering& op) {
  const program::Op* norm = op.next(1);
  const bool joins = norm && norm->name == "add_rms_norm" && norm->reads[0] == op.write() && norm->reads[1] != op.write() &&
                     op.read_last_by(op.write(), 1) && norm->writes[1] != norm->reads[1];
  return joins ? norm : nullptr;
}

}  // namespace

// `linear` and `lm_head` differ in the type of what they write alone. A product that a residual is added to before the next norm takes the
// residual along: sum = x @ weight^T + residual, then the norm of the sum.
void lower_linear(OpLowering& op) {
  const DeviceMatrix weight = op.weight<MatrixWeight>(0).matrix();
  const Bias bias = op.has_weight(1) ? op.weight<ArrayWeight>(1).bias() : Bias{};
  const auto x = op.read(0);
  Products* products = op.context.products;
  const program::Op* norm = adding_norm(op);
  if (!norm) {
    const auto y = op.write();
    op.launch(op.op.name, [=](const Frame& f) {
      if (f.measuring) products->measure(f[x], weight, {bias}, f[y], f.stream);
      products->product(f[x], weight, {bias}, f[y], f.stream);
    });
    return;
  }
  const auto residual = norm->reads[1], normed = norm->writes[0], sum = norm->writes[1];
  const auto* norm_weight = dynamic_cast<const ArrayWeight*>(norm->weights[0].get());
  require(norm_weight != nullptr, "add_rms_norm: its weight was not placed on this device");
  const auto eps = static_cast<float>(norm->attributes.number("eps"));
  op.write_here(sum);
  op.launch("linear_add", [=](const Frame& f) {
    const DeviceMatrix added = f[residual];
    const Epilogue epilogue{bias, &added};
    if (f.measuring) products->measure(f[x], weight, epilogue, f[sum], f.stream);
    products->product(f[x], weight, epilogue, f[sum], f.stream);
  });
  op.launch("rms_norm", [=](const Frame& f) {
    const DeviceMatrix from = f[sum];
    rms_norm(from, norm_weight->values(), from.cols, eps, f[normed], f.stream);
  });
  op.take(1);
}

}  // namespace octavo::cuda
