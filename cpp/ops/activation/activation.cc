#include "ops/activation/activation.h"

#include "cpu/split.h"
#include "ops/activation/activation_kernels.h"

namespace octavo {
namespace {

// piece(row, first, count) for pieces of the rows of y.
template <typename Piece>
void for_pieces(Matrix<float> y, cpu::ThreadPool& pool, const Piece& piece) {
  cpu::for_row_pieces(pool, y.rows, y.cols, piece);
}

// kernel(gate, up, settings..., y, count)
template <typename Kernel, typename... Settings>
void gated(const char* op, Kernel kernel, Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool, Settings... settings) {
  require(x.rows == y.rows && x.cols == 2 * y.cols, op, ": x [", x.rows, ", ", x.cols, "] must have twice the columns of y [", y.rows, ", ",
          y.cols, "]");
  for_pieces(y, pool, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernel(x.row(row) + col, x.row(row) + y.cols + col, settings..., y.row(row) + col, count);
  });
}

// kernel(x, settings..., y, count)
template <typename Kernel, typename... Settings>
void mapped(const char* op, Kernel kernel, Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool, Settings... settings) {
  require_same_shape(op, x, y);
  for_pieces(y, pool, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernel(x.row(row) + col, settings..., y.row(row) + col, count);
  });
}

// kernel(x, y, out, count)
template <typename Kernel>
void paired(const char* op, Kernel kernel, Matrix<const float> x, Matrix<const float> y, Matrix<float> out, cpu::ThreadPool& pool) {
  require_same_shape(op, x, y);
  require_same_shape(op, x, out);
  for_pieces(out, pool, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernel(x.row(row) + col, y.row(row) + col, out.row(row) + col, count);
  });
}

const ActivationKernels& kernels() { return activation_kernels(cpu::active_isa()); }

}  // namespace

void silu_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  gated("silu_and_mul", kernels().silu_and_mul, x, y, pool);
}

void gelu_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  gated("gelu_and_mul", kernels().gelu_and_mul, x, y, pool);
}

void gelu_tanh_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  gated("gelu_tanh_and_mul", kernels().gelu_tanh_and_mul, x, y, pool);
}

void clamped_swiglu(Matrix<const float> x, float alpha, float limit, Matrix<float> y, cpu::ThreadPool& pool) {
  gated("clamped_swiglu", kernels().clamped_swiglu, x, y, pool, alpha, limit);
}

void gelu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("gelu", kernels().gelu, x, y, pool); }
void gelu_tanh(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("gelu_tanh", kernels().gelu_tanh, x, y, pool); }
void quick_gelu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("quick_gelu", kernels().quick_gelu, x, y, pool); }
void silu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("silu", kernels().silu, x, y, pool); }
void relu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("relu", kernels().relu, x, y, pool); }
void relu_squared(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  mapped("relu_squared", kernels().relu_squared, x, y, pool);
}

void tanh_of(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("tanh", kernels().tanh_of, x, y, pool); }

void scale(Matrix<const float> x, float factor, Matrix<float> y, cpu::ThreadPool& pool) {
  mapped("scale", kernels().scale, x, y, pool, factor);
}

void softcap(Matrix<const float> x, float cap, Matrix<float> y, cpu::ThreadPool& pool) {
  require(cap > 0.0f, "softcap: cap is ", cap, "; it must be greater than 0");
  mapped("softcap", kernels().softcap, x, y, pool, cap);
}

void sigmoid(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) { mapped("sigmoid", kernels().sigmoid, x, y, pool); }

void add(Matrix<const float> x, Matrix<const float> y, Matrix<float> out, cpu::ThreadPool& pool) {
  paired("add", kernels().add, x, y, out, pool);
}

void mul(Matrix<const float> x, Matrix<const float> y, Matrix<float> out, cpu::ThreadPool& pool) {
  paired("mul", kernels().mul, x, y, out, pool);
}

void sigmoid_gate(Matrix<const float> x, Matrix<const float> gate, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("sigmoid_gate", x, y);
  require(gate.rows == x.rows && gate.cols == 1, "sigmoid_gate: gate is [", gate.rows, ", ", gate.cols, "], expected [", x.rows, ", 1]");
  for_pieces(y, pool, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernels().sigmoid_gate(x.row(row) + col, *gate.row(row), y.row(row) + col, count);
  });
}

}  // namespace octavo
