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

}  // namespace octavo
