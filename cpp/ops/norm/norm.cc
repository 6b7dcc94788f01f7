#include "ops/norm/norm.h"

#include "cpu/split.h"
#include "ops/norm/norm_kernels.h"

namespace octavo {
namespace {

void check(const char* op, Matrix<const float> x, Span<const float> weight, Matrix<const float> y) {
  require_same_shape(op, x, y);
  require(weight.size >= 1 && x.cols % weight.size == 0, op, ": x has ", x.cols, " columns, not a multiple of the ", weight.size,
          " weights");
}

void normalise_row(const NormKernels& kernels, const float* x, Span<const float> weight, float eps, float* y, std::int64_t cols) {
  for (std::int64_t col = 0; col < cols; col += weight.size) kernels.rms_norm(x + col, weight.data, eps, y + col, weight.size);
}

}  // namespace

void rms_norm(Matrix<const float> x, Span<const float> weight, float eps, Matrix<float> y, cpu::ThreadPool& pool) {
  check("rms_norm", x, weight, y);
  const NormKernels& kernels = norm_kernels(cpu::active_isa());
  cpu::for_row_ranges(pool, x.rows, x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) normalise_row(kernels, x.row(row), weight, eps, y.row(row), x.cols);
  });
}

void layer_norm(Matrix<const float> x, Span<const float> weight, Span<const float> bias, float eps, Matrix<float> y,
                cpu::ThreadPool& pool) {
  check("layer_norm", x, weight, y);
  require(bias.size == 0 || bias.size == weight.size, "layer_norm: ", bias.size, " biases for ", weight.size, " weights");
  const NormKernels& kernels = norm_kernels(cpu::active_isa());
  const float* added = bias.size == 0 ? nullptr : bias.data;
  cpu::for_row_ranges(pool, x.rows, 2 * x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t col = 0; col < x.cols; col += weight.size) {
        kernels.layer_norm(x.row(row) + col, weight.data, added, eps, y.row(row) + col, weight.size);
      }
    }
  });
}

void add_rms_norm(Matrix<const float> x, Matrix<const float> residual, Span<const float> weight, float eps, Matrix<float> y,
                  Matrix<float> sum, cpu::ThreadPool& pool) {
  check("add_rms_norm", x, weight, y);
  require_same_shape("add_rms_norm", x, residual);
  require_same_shape("add_rms_norm", x, sum);
  require(y.data != sum.data, "add_rms_norm: y and sum must be different memory");
  const NormKernels& kernels = norm_kernels(cpu::active_isa());
  cpu::for_row_ranges(pool, x.rows, 2 * x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      kernels.add(x.row(row), residual.row(row), sum.row(row), x.cols);
      normalise_row(kernels, sum.row(row), weight, eps, y.row(row), x.cols);
    }
  });
}

}  // namespace octavo
