#include "cpu/vec_math.h"
#include "ops/head_linear/head_linear_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kBlockRows = 4;
constexpr int kBlockVectors = 2;

// Rows 0..M-1 of y at one place of V vectors; the last, partial vector of a row takes the path of the others.
template <int M, int V, bool partial>
OCTAVO_VEC void block(Matrix<const float> x, Matrix<const float> w, std::int64_t row, std::int64_t col, Matrix<float> y) {
  const int rest = static_cast<int>(y.cols - col);
  const float* inputs[M];
  Vec sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    inputs[m] = x.row(row + m);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[m][v] = zero();
  }
  for (std::int64_t k = 0; k < x.cols; ++k) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const float* from = w.row(k) + col + v * kLanes;
      const Vec weight = partial ? load_first(from, rest) : load(from);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) sum[m][v] = fma(broadcast(inputs[m][k]), weight, sum[m][v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* to = y.row(row + m) + col + v * kLanes;
      if (partial) {
        store_first(to, sum[m][v], rest);
      } else {
        store(to, sum[m][v]);
      }
    }
  }
}

template <int M>
void rows(Matrix<const float> x, Matrix<const float> w, std::int64_t row, Matrix<float> y) {
  std::int64_t col = 0;
  for (; col + kBlockVectors * kLanes <= y.cols; col += kBlockVectors * kLanes) block<M, kBlockVectors, false>(x, w, row, col, y);
  for (; col + kLanes <= y.cols; col += kLanes) block<M, 1, false>(x, w, row, col, y);
  if (col < y.cols) block<M, 1, true>(x, w, row, col, y);
}

void product(Matrix<const float> x, Matrix<const float> w, Matrix<float> y) {
  std::int64_t row = 0;
  for (; row + kBlockRows <= y.rows; row += kBlockRows) rows<kBlockRows>(x, w, row, y);
  for (; row < y.rows; ++row) rows<1>(x, w, row, y);
}

}  // namespace

const HeadLinearKernels& head_linear_kernels() {
  static constexpr HeadLinearKernels kernels{product};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
