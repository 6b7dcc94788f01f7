#include "ops/activation/activation.h"

#include "cpu/split.h"
#include "ops/activation/activation_kernels.h"

namespace octavo {
namespace {

void gate(const char* op, decltype(ActivationKernels::silu_and_mul) kernel, Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  require(x.rows == y.rows && x.cols == 2 * y.cols, op, ": x [", x.rows, ", ", x.cols, "] must have twice the columns of y [", y.rows, ", ",
          y.cols, "]");
  cpu::for_row_pieces(pool, y.rows, y.cols, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernel(x.row(row) + col, x.row(row) + y.cols + col, y.row(row) + col, count);
  });
}

void activate(const char* op, decltype(ActivationKernels::relu) kernel, Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape(op, x, y);
  cpu::for_row_pieces(pool, y.rows, y.cols,
                      [&](std::int64_t row, std::int64_t col, std::int64_t count) { kernel(x.row(row) + col, y.row(row) + col, count); });
}

}  // namespace

void silu_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  gate("silu_and_mul", activation_kernels(cpu::active_isa()).silu_and_mul, x, y, pool);
}

void gelu_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  gate("gelu_and_mul", activation_kernels(cpu::active_isa()).gelu_and_mul, x, y, pool);
}

void gelu_tanh_and_mul(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  gate("gelu_tanh_and_mul", activation_kernels(cpu::active_isa()).gelu_tanh_and_mul, x, y, pool);
}

void gelu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  activate("gelu", activation_kernels(cpu::active_isa()).gelu, x, y, pool);
}

void gelu_tanh(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  activate("gelu_tanh", activation_kernels(cpu::active_isa()).gelu_tanh, x, y, pool);
}

void silu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  activate("silu", activation_kernels(cpu::active_isa()).silu, x, y, pool);
}

void relu(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  activate("relu", activation_kernels(cpu::active_isa()).relu, x, y, pool);
}

void relu_squared(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  activate("relu_squared", activation_kernels(cpu::active_isa()).relu_squared, x, y, pool);
}

void tanh_of(Matrix<const float> x, Matrix<float> y, cpu::ThreadPool& pool) {
  activate("tanh", activation_kernels(cpu::active_isa()).tanh_of, x, y, pool);
}

void scale(Matrix<const float> x, float factor, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("scale", x, y);
  const ActivationKernels& kernels = activation_kernels(cpu::active_isa());
  cpu::for_row_pieces(pool, x.rows, x.cols, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernels.scale(x.row(row) + col, factor, y.row(row) + col, count);
  });
}

void add(Matrix<const float> x, Matrix<const float> y, Matrix<float> out, cpu::ThreadPool& pool) {
  require_same_shape("add", x, y);
  require_same_shape("add", x, out);
  const ActivationKernels& kernels = activation_kernels(cpu::active_isa());
  cpu::for_row_pieces(pool, x.rows, x.cols, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernels.add(x.row(row) + col, y.row(row) + col, out.row(row) + col, count);
  });
}

void sigmoid_gate(Matrix<const float> x, Matrix<const float> gate, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("sigmoid_gate", x, y);
  require(gate.rows == x.rows && gate.cols == 1, "sigmoid_gate: gate is [", gate.rows, ", ", gate.cols, "], expected [", x.rows, ", 1]");
  const ActivationKernels& kernels = activation_kernels(cpu::active_isa());
  cpu::for_row_pieces(pool, x.rows, x.cols, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernels.sigmoid_gate(x.row(row) + col, *gate.row(row), y.row(row) + col, count);
  });
}

void softcap(Matrix<const float> x, float cap, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("softcap", x, y);
  require(cap > 0.0f, "softcap: cap is ", cap, "; it must be greater than 0");
  const ActivationKernels& kernels = activation_kernels(cpu::active_isa());
  cpu::for_row_pieces(pool, x.rows, x.cols, [&](std::int64_t row, std::int64_t col, std::int64_t count) {
    kernels.softcap(x.row(row) + col, cap, y.row(row) + col, count);
  });
}

}  // namespace octavo
