#include "ops/gather/gather.h"

#include <cstring>

#include "cpu/split.h"

namespace octavo {

void select_rows(Matrix<const float> x, Span<const std::int32_t> indices, Matrix<float> y, cpu::ThreadPool& pool) {
  require(y.rows == indices.size && y.cols == x.cols, "select_rows: y [", y.rows, ", ", y.cols, "] must be [", indices.size, ", ", x.cols,
          "]");
  for (std::int64_t row = 0; row < indices.size; ++row) {
    require(indices[row] >= 0 && indices[row] < x.rows, "select_rows: indices[", row, "] is ", indices[row], "; x has ", x.rows, " rows");
  }
  cpu::for_row_ranges(pool, y.rows, y.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      std::memcpy(y.row(row), x.row(indices[row]), static_cast<std::size_t>(x.cols) * sizeof(float));
    }
  });
}

void gather_rows(Matrix<const float> x, Matrix<const std::int32_t> ids, Matrix<float> y, cpu::ThreadPool& pool) {
  require(y.rows == ids.rows && y.cols == ids.cols * x.cols, "gather_rows: y is [", y.rows, ", ", y.cols, "], expected [", ids.rows, ", ",
          ids.cols * x.cols, "]");
  for (std::int64_t row = 0; row < ids.rows; ++row) {
    for (std::int64_t i = 0; i < ids.cols; ++i) {
      const std::int32_t id = ids.row(row)[i];
      require(id >= 0 && id < x.rows, "gather_rows: ids[", row, ", ", i, "] is ", id, "; x has ", x.rows, " rows");
    }
  }
  cpu::for_row_ranges(pool, y.rows, y.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t i = 0; i < ids.cols; ++i) {
        std::memcpy(y.row(row) + i * x.cols, x.row(ids.row(row)[i]), static_cast<std::size_t>(x.cols) * sizeof(float));
      }
    }
  });
}

void choose_rows(Matrix<const float> x, Matrix<const float> other, Matrix<const std::int32_t> chosen, Matrix<float> y,
                 cpu::ThreadPool& pool) {
  require(other.rows == x.rows && other.cols == x.cols && y.rows == x.rows && y.cols == x.cols && chosen.rows == x.rows && chosen.cols == 1,
          "choose_rows: x is [", x.rows, ", ", x.cols, "]; the other operands must have as many rows and columns");
  cpu::for_row_ranges(pool, y.rows, y.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const float* from = *chosen.row(row) ? other.row(row) : x.row(row);
      if (from != y.row(row)) std::memcpy(y.row(row), from, static_cast<std::size_t>(x.cols) * sizeof(float));
    }
  });
}

}  // namespace octavo
