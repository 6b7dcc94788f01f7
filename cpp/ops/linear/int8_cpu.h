// Int8 arithmetic (linear.h): codes of weights and of activations are multiplied as integers, a run of up to 32 k at a time, then
// scaled. A register tile is M rows by the columns of a panel; panels are decoded in registers anew for each tile of rows, which
// is cheap beside M products. For linear_cpu.cc alone.
#pragma once
#include "ops/linear/direct_cpu.h"
#include "ops/linear/dot_cpu.h"
#include "ops/linear/linear_kernels.h"

namespace octavo::OCTAVO_ISA {

// As many rows as leave registers for codes and a broadcast word.
#if defined(__AVX512F__)
constexpr int kInt8Rows = 6;
#else
constexpr int kInt8Rows = 4;
#endif

// A run: consecutive k that share a scale of the weight and one of the activations.
template <Packing P>
struct Run {
  static constexpr BlockShape kShape = block_shape(P);
  static constexpr bool kNibbles = kShape.code_bytes * 2 == kShape.depth;
  static constexpr bool kHasMin = kShape.num_scales == 2;
  static constexpr int kDepth = kShape.depth < kActivationGroup ? kShape.depth : kActivationGroup;
  static constexpr int kPerWord = kNibbles ? 8 : 4;
  static constexpr int kWords = kDepth / kPerWord;
  static constexpr int kRunsPerBlock = kShape.depth / kDepth;
  typedef RunDot<kNibbles> Dot;
};

template <Packing P, int M>
OCTAVO_VEC void add_run_products(typename Run<P>::Dot::Sum (*dots)[kPanelVecs], const std::uint8_t* words, const std::int8_t* x,
                                 std::int64_t stride) {
  typedef Run<P> R;
#pragma GCC unroll 1  // unrolled, the compiler would first make all products of a run, and spill them
  for (int index = 0; index < R::kWords; ++index) {
    typename R::Dot::Codes codes[kPanelVecs];
    for (int vec = 0; vec < kPanelVecs; ++vec) codes[vec] = R::Dot::decode(load_panel_words(words, index, vec));
#pragma GCC unroll 8
    for (int row = 0; row < M; ++row) {
      for (int vec = 0; vec < kPanelVecs; ++vec) R::Dot::add(dots[row][vec], codes[vec], x + row * stride + index * R::kPerWord);
    }
  }
}

// The integer sum of a run becomes that of (code - zero point), or of plain codes where the format stores mins.
template <Packing P>
OCTAVO_VEC IntVec without_zero_point(IntVec total, const ActivationGroup& group, int run_in_group, int zero_point) {
  typedef Run<P> R;
  if (R::kHasMin && R::Dot::kCodeOffset == 0) return total;
  const int sum = R::kDepth == kActivationGroup ? group.sums[0] + group.sums[1] : group.sums[run_in_group];
  return total - (zero_point - R::Dot::kCodeOffset) * sum;
}

template <Packing P, int M>
OCTAVO_VEC void add_run(Vec (*sums)[kPanelVecs], const std::uint8_t* words, const ScaleAndMin* scales, const LinearTask& task,
                        std::int64_t row, std::int64_t k) {
  typedef Run<P> R;
  typename R::Dot::Sum dots[M][kPanelVecs] = {};
  add_run_products<P, M>(dots, words, task.quantized.codes + row * task.num_cols + k, task.num_cols);
  const ActivationGroup* group = task.quantized.groups + row * task.quantized.num_groups() + k / kActivationGroup;
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i, group += task.quantized.num_groups()) {
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const IntVec total = without_zero_point<P>(R::Dot::total(dots[i][vec]), *group, static_cast<int>(k / R::kDepth % 2),
                                                 static_cast<int>(task.zero_point));
      sums[i][vec] = fma(to_float(total), scales[vec].scale * broadcast(group->scale), sums[i][vec]);
      if (R::kHasMin) sums[i][vec] = fma(scales[vec].min, broadcast(group->scaled_sum), sums[i][vec]);
    }
  }
}

template <Packing P, int M>
static void multiply_int8(const LinearTask& task, std::int64_t column, std::int64_t row) {
  typedef Run<P> R;
  typedef CodeDecoder<P> Decoder;
  const std::uint8_t* block = task.panels + column / kPanelWidth * task.panel_bytes;
  Vec sums[M][kPanelVecs] = {};
  for (std::int64_t k = 0; k < task.num_cols; k += R::kShape.depth, block += Decoder::kBlockBytes) {
    prefetch(block + kPrefetchBytes, Decoder::kBlockBytes);
    ScaleAndMin scales[kPanelVecs];
    for (int vec = 0; vec < kPanelVecs; ++vec) scales[vec] = Decoder::load_scales(block, vec, task.zero_point);
    for (int run = 0; run < R::kRunsPerBlock; ++run) {
      add_run<P, M>(sums, block + run * R::kWords * 4 * kPanelWidth, scales, task, row, k + run * R::kDepth);
    }
  }
  for (int i = 0; i < M; ++i) store_columns(task.y + (row + i) * task.y_stride + column, sums[i], task.num_outputs - column);
}

template <Packing P, int M = kInt8Rows>
static void multiply_int8_rows(const LinearTask& task, std::int64_t column, std::int64_t row, std::int64_t count) {
  if constexpr (M > 1) {
    if (count < M) return multiply_int8_rows<P, M - 1>(task, column, row, count);
  }
  multiply_int8<P, M>(task, column, row);
}

template <Packing P>
static void compute_int8(const LinearTask& task) {
  for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth) {
    std::int64_t rows;
    for (std::int64_t row = 0; row < task.num_rows; row += rows) {
      const std::int64_t left = task.num_rows - row, num_tiles = (left + kInt8Rows - 1) / kInt8Rows;
      rows = (left + num_tiles - 1) / num_tiles;
      multiply_int8_rows<P>(task, column, row, rows);
    }
  }
}

}  // namespace octavo::OCTAVO_ISA
