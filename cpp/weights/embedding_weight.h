// A table [V, E] in its raw format: memory that somebody else maps, row-major. Rows are dequantised as they are read.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>

#include "program/graph.h"
#include "weights/format.h"

namespace octavo {

class EmbeddingWeight : public program::Weight {
 public:
  // owner: keeps the memory alive, where somebody must.
  EmbeddingWeight(const std::uint8_t* data_, Format format_, std::int64_t rows_, std::int64_t cols_, std::shared_ptr<const void> owner = {})
      : data(data_), format(format_), rows(rows_), cols(cols_), owner_(std::move(owner)) {}
  const char* kind() const override { return "embedding"; }
  std::vector<std::int64_t> shape() const override { return {rows, cols}; }

  const std::uint8_t* const data;
  const Format format;
  const std::int64_t rows;
  const std::int64_t cols;

 private:
  std::shared_ptr<const void> owner_;
};

}  // namespace octavo
