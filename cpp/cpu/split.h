// Splits work over rows and columns for the thread pool, in pieces large enough to be worth handing out.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/thread_pool.h"

namespace octavo::cpu {

constexpr std::int64_t kMinElementsPerTask = 4096;

// body(first_row, last_row) over [0, rows); row_elements: how many elements a row's work touches.
template <typename Body>
void for_row_ranges(ThreadPool& pool, std::int64_t rows, std::int64_t row_elements, const Body& body) {
  const std::int64_t step = std::max<std::int64_t>(1, kMinElementsPerTask / std::max<std::int64_t>(1, row_elements));
  pool.run((rows + step - 1) / step, [&](std::int64_t index) { body(index * step, std::min(rows, (index + 1) * step)); });
}

// body(row, first_col, num_cols) over a matrix whose elements are independent.
template <typename Body>
void for_row_pieces(ThreadPool& pool, std::int64_t rows, std::int64_t cols, const Body& body) {
  const std::int64_t pieces = std::max<std::int64_t>(1, cols / kMinElementsPerTask);
  const std::int64_t width = ((cols + pieces - 1) / pieces + 63) / 64 * 64;
  for_row_ranges(pool, rows * pieces, width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t index = first; index < last; ++index) {
      const std::int64_t col = index % pieces * width;
      if (col < cols) body(index / pieces, col, std::min(width, cols - col));
    }
  });
}

}  // namespace octavo::cpu
