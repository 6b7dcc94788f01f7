#include "ops/rotary/rotary.h"

#include <cstring>

#include "cpu/split.h"
#include "ops/rotary/rotary_kernels.h"

namespace octavo {

void rotary_embedding(Matrix<const float> x, Span<const std::int32_t> positions, Matrix<const float> cos_sin, int head_dim, Matrix<float> y,
                      cpu::ThreadPool& pool) {
  require_same_shape("rotary_embedding", x, y);
  require(positions.size == x.rows, "rotary_embedding: ", positions.size, " positions for ", x.rows, " tokens");
  require(head_dim >= 1 && x.cols % head_dim == 0, "rotary_embedding: x has ", x.cols, " columns, not a multiple of head_dim ", head_dim);
  require(cos_sin.cols % 2 == 0 && cos_sin.cols <= head_dim, "rotary_embedding: cos_sin has ", cos_sin.cols, " columns for heads of ",
          head_dim);
  for (std::int64_t token = 0; token < positions.size; ++token) {
    require(positions[token] >= 0 && positions[token] < cos_sin.rows, "rotary_embedding: positions[", token, "] is ", positions[token],
            "; cos_sin has ", cos_sin.rows, " rows");
  }
  const RotaryKernels& kernels = rotary_kernels(cpu::active_isa());
  const auto half = static_cast<int>(cos_sin.cols / 2);
  const auto rest_bytes = static_cast<std::size_t>(head_dim - 2 * half) * sizeof(float);
  cpu::for_row_ranges(pool, x.rows, x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const float* cos = cos_sin.row(positions[row]);
      for (std::int64_t col = 0; col < x.cols; col += head_dim) {
        kernels.rotate(x.row(row) + col, cos, cos + half, y.row(row) + col, half);
        std::memmove(y.row(row) + col + 2 * half, x.row(row) + col + 2 * half, rest_bytes);
      }
    }
  });
}

}  // namespace octavo
