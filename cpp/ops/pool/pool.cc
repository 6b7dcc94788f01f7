#include "ops/pool/pool.h"

#include <cstring>

namespace octavo {
namespace {

void mean_of(Matrix<const float> x, std::int64_t first, std::int64_t last, float* y) {
  std::memcpy(y, x.row(first), static_cast<std::size_t>(x.cols) * sizeof(float));
  for (std::int64_t token = first + 1; token < last; ++token) {
    const float* row = x.row(token);
    for (std::int64_t col = 0; col < x.cols; ++col) y[col] += row[col];
  }
  const auto count = static_cast<float>(last - first);
  for (std::int64_t col = 0; col < x.cols; ++col) y[col] /= count;
}

}  // namespace

void pool_sequences(Matrix<const float> x, Span<const std::int32_t> query_indptr, Pooling pooling, Matrix<float> y, cpu::ThreadPool& pool) {
  require(query_indptr.size == y.rows + 1 && y.cols == x.cols, "pool: y is [", y.rows, ", ", y.cols, "], expected [", query_indptr.size - 1,
          ", ", x.cols, "]");
  require(query_indptr[0] == 0 && query_indptr[y.rows] == x.rows, "pool: query_indptr must go from 0 to ", x.rows);
  for (std::int64_t row = 0; row < y.rows; ++row) {
    require(query_indptr[row] < query_indptr[row + 1], "pool: sequence ", row, " has no tokens");
  }
  pool.run(y.rows, [&](std::int64_t row) {
    const std::int64_t first = query_indptr[row], last = query_indptr[row + 1];
    if (pooling == Pooling::mean) return mean_of(x, first, last, y.row(row));
    std::memcpy(y.row(row), x.row(pooling == Pooling::cls ? first : last - 1), static_cast<std::size_t>(x.cols) * sizeof(float));
  });
}

}  // namespace octavo
