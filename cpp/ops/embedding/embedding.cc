#include "ops/embedding/embedding.h"

#include <algorithm>
#include <vector>

#include "weights/dequantize.h"

namespace octavo {

void embedding(Span<const std::int32_t> token_ids, const EmbeddingWeight& weight, float scale, Matrix<float> y, cpu::ThreadPool& pool) {
  require(y.rows == token_ids.size && y.cols == weight.cols, "embedding: y is [", y.rows, ", ", y.cols, "], expected [", token_ids.size,
          ", ", weight.cols, "]");
  for (std::int64_t i = 0; i < token_ids.size; ++i) {
    require(token_ids[i] >= 0 && token_ids[i] < weight.rows, "embedding: token id ", token_ids[i], " is not in the table of ", weight.rows,
            " rows");
  }
  const std::int64_t row_bytes = format_bytes(weight.format, weight.cols);
  pool.run(token_ids.size, [&](std::int64_t token) {
    float* row = y.row(token);
    dequantize(weight.data + token_ids[token] * row_bytes, weight.format, weight.cols, row);
    for (std::int64_t i = 0; i < weight.cols; ++i) row[i] *= scale;
  });
}

void position_embedding(Span<const std::int32_t> positions, const EmbeddingWeight& weight, std::int64_t offset, Matrix<float> y,
                        cpu::ThreadPool& pool) {
  require(y.rows == positions.size && y.cols == weight.cols, "position_embedding: y is [", y.rows, ", ", y.cols, "], expected [",
          positions.size, ", ", weight.cols, "]");
  for (std::int64_t i = 0; i < positions.size; ++i) {
    require(positions[i] >= 0 && positions[i] + offset < weight.rows, "position_embedding: position ", positions[i],
            " is not in the table of ", weight.rows - offset, " positions");
  }
  const std::int64_t row_bytes = format_bytes(weight.format, weight.cols);
  pool.run(positions.size, [&](std::int64_t token) {
    dequantize(weight.data + (positions[token] + offset) * row_bytes, weight.format, weight.cols, y.row(token));
  });
}

void lookup(Matrix<const std::int32_t> ids, const EmbeddingWeight& weight, Matrix<float> y, cpu::ThreadPool& pool) {
  require(y.rows == ids.rows && y.cols == weight.cols && ids.cols == 1, "lookup: y is [", y.rows, ", ", y.cols, "], expected [", ids.rows,
          ", ", weight.cols, "]");
  for (std::int64_t i = 0; i < ids.rows; ++i) {
    require(*ids.row(i) >= 0 && *ids.row(i) < weight.rows, "lookup: id ", *ids.row(i), " is not in the table of ", weight.rows, " rows");
  }
  const std::int64_t row_bytes = format_bytes(weight.format, weight.cols);
  pool.run(ids.rows, [&](std::int64_t i) { dequantize(weight.data + *ids.row(i) * row_bytes, weight.format, weight.cols, y.row(i)); });
}

void weighted_lookup(Matrix<const std::int32_t> ids, Matrix<const float> weights, const EmbeddingWeight& weight, Matrix<float> y,
                     cpu::ThreadPool& pool) {
  require(y.rows == ids.rows && y.cols == weight.cols && weights.rows == ids.rows && weights.cols == ids.cols, "weighted_lookup: y is [",
          y.rows, ", ", y.cols, "], expected [", ids.rows, ", ", weight.cols, "]");
  for (std::int64_t row = 0; row < ids.rows; ++row) {
    for (std::int64_t i = 0; i < ids.cols; ++i) {
      const std::int32_t id = ids.row(row)[i];
      require(id >= 0 && id < weight.rows, "weighted_lookup: id ", id, " is not in the table of ", weight.rows, " rows");
    }
  }
  const std::int64_t row_bytes = format_bytes(weight.format, weight.cols);
  pool.run(ids.rows, [&](std::int64_t row) {
    std::vector<float> values(static_cast<std::size_t>(weight.cols));
    std::fill_n(y.row(row), weight.cols, 0.0f);
    for (std::int64_t i = 0; i < ids.cols; ++i) {
      dequantize(weight.data + ids.row(row)[i] * row_bytes, weight.format, weight.cols, values.data());
      const float share = weights.row(row)[i];
      for (std::int64_t col = 0; col < weight.cols; ++col) y.row(row)[col] += share * values[static_cast<std::size_t>(col)];
    }
  });
}

}  // namespace octavo
