#include "ops/linear/linear_lower_cuda.h"

#include "cuda/lower_ops.h"
#include "cuda/weights.h"

namespace octavo::cuda {
namespace {

constexpr std::int64_t kMostFusedElements = std::int64_t{16} << 20;

Bias bias_of(const program::Op& op) {
  const auto* bias = op.weights.size() > 1 ? dynamic_cast<const ArrayWeight*>(op.weights[1].get()) : nullptr;
  return bias ? bias->bias() : Bias{};
}

// The add_rms_norm that follows the op `distance` after this one and alone reads its product: null where another op does.
const program::Op* adding_norm(const OpLowering& op, const program::Op& linear, int distance) {
  const program::Op* norm = op.next(distance + 1);
  const program::ValueId y = linear.writes[0];
  const bool joins = norm && norm->name == "add_rms_norm" && norm->reads[0] == y && norm->reads[1] != y &&
                     op.read_last_by(y, distance + 1) && norm->writes[1] != norm->reads[1];
  return joins ? norm : nullptr;
}

}  // namespace

// `linear` and `lm_head` differ in the type of what they write alone. A product that a residual is added to before the next norm takes the
// residual along: sum = x @ weight^T + residual, then the norm of the sum.
void lower_linear(OpLowering& op) {
  const DeviceMatrix weight = op.weight<MatrixWeight>(0).matrix();
  const Bias bias = bias_of(op.op);
  const auto x = op.read(0);
  Products* products = op.context.products;
  const program::Op* norm = adding_norm(op, op.op, 0);
  if (!norm) {
    const auto y = op.write();
    op.launch(op.op.name, [=](const Frame& f) {
      if (f.measuring) products->measure(f[x], weight, {bias}, f[y], f.stream);
      products->product(f[x], weight, {bias}, f[y], f.stream);
    });
    return;
  }
  const auto residual = norm->reads[1], sum = norm->writes[1];
  op.write_here(sum);
  op.launch("linear_add", [=](const Frame& f) {
    const DeviceMatrix added = f[residual];
    const Epilogue epilogue{bias, &added};
    if (f.measuring) products->measure(f[x], weight, epilogue, f[sum], f.stream);
    products->product(f[x], weight, epilogue, f[sum], f.stream);
  });
  op.take(1 + lower_norm(op, {sum, norm->writes[0], norm->weights[0].get(), norm->attributes.number("eps")}, 2));
}

int lower_norm(OpLowering& op, const Norm& norm, int distance) {
  const auto* norm_weight = dynamic_cast<const ArrayWeight*>(norm.weight);
  require(norm_weight != nullptr, "rms_norm: its weight was not placed on this device");
  const auto eps = static_cast<float>(norm.eps);
  const auto x = norm.x, normed = norm.y;
  const std::int64_t group = norm_weight->shape().back();
  const auto normalise = [=](const Frame& f) { rms_norm(f[x], norm_weight->values(), group, eps, f[normed], f.stream); };
  const program::Op* linear = op.next(distance);
  const auto* matrix = linear && linear->name == "linear" ? dynamic_cast<const MatrixWeight*>(linear->weights[0].get()) : nullptr;
  const bool joins = matrix && linear->reads[0] == normed && op.read_last_by(normed, distance) && op.lives_until(x, distance + 1) &&
                     group == op.cols(x) && !adding_norm(op, *linear, distance) && op.context.activation != DType::f32;
  if (!joins) {
    op.launch("rms_norm", normalise);
    return 0;
  }
  const DeviceMatrix weight = matrix->matrix();
  const Bias bias = bias_of(*linear);
  const auto y = linear->writes[0];
  const program::Op* gate = op.next(distance + 1);
  const bool gated = gate && gate->name == "silu_and_mul" && gate->reads[0] == y && op.read_last_by(y, distance + 1);
  const auto out = gated ? gate->writes[0] : y;
  Products* products = op.context.products;
  // Beside large weights the norm's own kernel costs nothing: it runs while their first pieces are on their way.
  const bool is_small = weight.rows * weight.cols <= kMostFusedElements;
  op.launch(gated ? "norm_linear_silu_and_mul" : "norm_linear", [=](const Frame& f) {
    if (is_small && !f.measuring && products->prefers_gemv(f[normed], weight, bias, f[y]) && gemv_takes(f[x], weight)) {
      return gemv(f[x], weight, {bias.values, nullptr, norm_weight->values(), eps, gated}, f[out], f.stream);
    }
    normalise(f);
    if (f.measuring) products->measure(f[normed], weight, {bias}, f[y], f.stream);
    products->product(f[normed], weight, {bias}, f[y], f.stream);
    if (gated) gate_and_mul(Gate::silu, f[y], f[out], f.stream);
  });
  return gated ? 2 : 1;
}

}  // namespace octavo::cuda
