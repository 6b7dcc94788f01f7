#include "ops/head_linear/head_linear.h"

#include <algorithm>

#include "ops/head_linear/head_linear_kernels.h"

namespace octavo {
namespace {

constexpr std::int64_t kTaskRows = 32;  // of one head

}  // namespace

void head_linear(Matrix<const float> x, Matrix<const float> w, std::int64_t num_heads, Matrix<float> y, cpu::ThreadPool& pool) {
  require(num_heads >= 1 && x.cols % num_heads == 0 && x.cols == w.rows && y.rows == x.rows && y.cols == num_heads * w.cols,
          "head_linear: x [", x.rows, ", ", x.cols, "], w [", w.rows, ", ", w.cols, "] and y [", y.rows, ", ", y.cols, "] of ", num_heads,
          " heads do not fit");
  const std::int64_t inputs = x.cols / num_heads, tiles = (x.rows + kTaskRows - 1) / kTaskRows;
  const auto product = head_linear_kernels(cpu::active_isa()).product;
  pool.run(num_heads * tiles, [&](std::int64_t task) {
    const std::int64_t head = task / tiles, first = task % tiles * kTaskRows, count = std::min(kTaskRows, x.rows - first);
    product({x.row(first) + head * inputs, count, inputs, x.stride}, {w.row(head * inputs), inputs, w.cols, w.stride},
            {y.row(first) + head * w.cols, count, w.cols, y.stride});
  });
}

}  // namespace octavo
