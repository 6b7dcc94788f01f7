#include "ops/rotary/rotary.h"

#include <cstring>

#include "cpu/split.h"
#include "ops/rotary/rotary_kernels.h"

namespace octavo {
namespace {

// row_of(token): its cosines, then its sines, `cols` together.
template <typename RowOf>
void rotate_rows(Matrix<const float> x, std::int64_t cols, int head_dim, Matrix<float> y, cpu::ThreadPool& pool, const RowOf& row_of) {
  const RotaryKernels& kernels = rotary_kernels(cpu::active_isa());
  const auto half = static_cast<int>(cols / 2);
  const auto rest_bytes = static_cast<std::size_t>(head_dim - 2 * half) * sizeof(float);
  cpu::for_row_ranges(pool, x.rows, x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const float* cos = row_of(row);
      for (std::int64_t col = 0; col < x.cols; col += head_dim) {
        kernels.rotate(x.row(row) + col, cos, cos + half, y.row(row) + col, half);
        std::memmove(y.row(row) + col + 2 * half, x.row(row) + col + 2 * half, rest_bytes);
      }
    }
  });
}

void check_heads(const char* op, Matrix<const float> x, std::int64_t cols, int head_dim, Matrix<const float> y) {
  require_same_shape(op, x, y);
  require(head_dim >= 1 && x.cols % head_dim == 0, op, ": x has ", x.cols, " columns, not a multiple of head_dim ", head_dim);
  require(cols % 2 == 0 && cols <= head_dim, op, ": ", cols, " columns of cosines and sines for heads of ", head_dim);
}

}  // namespace

void rotary_embedding(Matrix<const float> x, Span<const std::int32_t> positions, Matrix<const float> cos_sin, int head_dim, Matrix<float> y,
                      cpu::ThreadPool& pool) {
  check_heads("rotary_embedding", x, cos_sin.cols, head_dim, y);
  require(positions.size == x.rows, "rotary_embedding: ", positions.size, " positions for ", x.rows, " tokens");
  for (std::int64_t token = 0; token < positions.size; ++token) {
    require(positions[token] >= 0 && positions[token] < cos_sin.rows, "rotary_embedding: positions[", token, "] is ", positions[token],
            "; cos_sin has ", cos_sin.rows, " rows");
  }
  rotate_rows(x, cos_sin.cols, head_dim, y, pool, [&](std::int64_t row) { return cos_sin.row(positions[row]); });
}

void axis_rotation(Matrix<const std::int32_t> positions, Matrix<const float> cos_sin, Span<const float> axes, Matrix<float> y,
                   cpu::ThreadPool& pool) {
  const std::int64_t half = axes.size;
  require(cos_sin.cols == 2 * half && y.cols == 2 * half && y.rows == positions.rows, "axis_rotation: y is [", y.rows, ", ", y.cols,
          "], expected [", positions.rows, ", ", 2 * half, "]");
  for (std::int64_t i = 0; i < half; ++i) {
    require(axes[i] >= 0 && axes[i] < static_cast<float>(positions.cols), "axis_rotation: axes[", i, "] is ", axes[i], "; positions have ",
            positions.cols);
  }
  for (std::int64_t token = 0; token < positions.rows; ++token) {
    for (std::int64_t axis = 0; axis < positions.cols; ++axis) {
      const std::int32_t at = positions.row(token)[axis];
      require(at >= 0 && at < cos_sin.rows, "axis_rotation: positions[", token, ", ", axis, "] is ", at, "; cos_sin has ", cos_sin.rows,
              " rows");
    }
  }
  cpu::for_row_ranges(pool, y.rows, y.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      float* to = y.row(token);
      for (std::int64_t i = 0; i < half; ++i) {
        const float* from = cos_sin.row(positions.row(token)[static_cast<std::int64_t>(axes[i])]);
        to[i] = from[i];
        to[half + i] = from[half + i];
      }
    }
  });
}

void rotate(Matrix<const float> x, Matrix<const float> rotation, int head_dim, Matrix<float> y, cpu::ThreadPool& pool) {
  check_heads("rotate", x, rotation.cols, head_dim, y);
  require(rotation.rows == x.rows, "rotate: ", rotation.rows, " rotations for ", x.rows, " tokens");
  rotate_rows(x, rotation.cols, head_dim, y, pool, [&](std::int64_t row) { return rotation.row(row); });
}

}  // namespace octavo
