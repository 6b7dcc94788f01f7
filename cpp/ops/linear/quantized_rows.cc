#include "ops/linear/quantized_rows.h"

#include "cpu/split.h"
#include "ops/linear/linear_kernels.h"

namespace octavo {

std::int64_t QuantizedRows::num_bytes(std::int64_t rows, std::int64_t cols) {
  return rows * cols + rows * (cols / kActivationGroup) * static_cast<std::int64_t>(sizeof(ActivationGroup));
}

QuantizedRows QuantizedRows::in(std::uint8_t* memory, std::int64_t rows, std::int64_t cols) {
  const std::int64_t group_bytes = rows * (cols / kActivationGroup) * static_cast<std::int64_t>(sizeof(ActivationGroup));
  return {reinterpret_cast<std::int8_t*>(memory + group_bytes), reinterpret_cast<ActivationGroup*>(memory), cols};
}

void quantize_rows(Matrix<const float> x, const QuantizedRows& rows, cpu::Isa isa, cpu::ThreadPool& pool) {
  require(x.cols % kActivationGroup == 0, "int8 arithmetic: x has ", x.cols, " columns; they must be a multiple of ", kActivationGroup);
  const LinearKernels& kernels = linear_kernels(isa);
  cpu::for_row_ranges(pool, x.rows, x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      kernels.quantize_row(x.row(row), x.cols, rows.codes + row * rows.cols, rows.groups + row * rows.num_groups());
    }
  });
}

}  // namespace octavo
