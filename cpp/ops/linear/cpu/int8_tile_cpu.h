// The register tile of int8 arithmetic: M rows by the columns of a panel. Integer products of a run of k are summed, then scaled.
// For linear_cpu.cc alone.
//
// `Blocks` says how the codes of a panel lie and are multiplied: a Dot with its type of Activation, of which rows have kRunActivations for
// a run, kSteps steps in a run with load_codes and the first activation of each, load_scales of a block, and the total of (code - zero
// point) . x.
#pragma once
#include "ops/linear/cpu/direct_cpu.h"
#include "ops/linear/cpu/dot_cpu.h"
#include "ops/linear/cpu/read_ahead_cpu.h"
#include "ops/linear/linear_kernels.h"

namespace octavo::OCTAVO_ISA {

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
};

template <typename Blocks, int M, int Step = 0>
OCTAVO_VEC void add_run_products(typename Blocks::Dot::Sum (*dots)[kPanelVecs], const std::uint8_t* words,
                                 const typename Blocks::Dot::Activation* x, std::int64_t stride) {
  if constexpr (Step < Blocks::kSteps) {
    typename Blocks::Dot::Codes codes[kPanelVecs];
    for (int vec = 0; vec < kPanelVecs; ++vec) codes[vec] = Blocks::load_codes(words, Step, vec);
#pragma GCC unroll 8
    for (int row = 0; row < M; ++row) {
      for (int vec = 0; vec < kPanelVecs; ++vec) {
        Blocks::Dot::add(dots[row][vec], codes[vec], x + row * stride + Blocks::activation(Step));
        Blocks::Dot::pin(dots[row][vec]);
      }
    }
    add_run_products<Blocks, M, Step + 1>(dots, words, x, stride);
  }
}

// The integer sum of a run becomes that of (code - zero point), or of plain codes where the format stores mins. Of one lane or many.
template <Packing P, int kCodeOffset, typename Total>
OCTAVO_VEC Total without_zero_point(Total total, const ActivationGroup& group, int run_in_group, int zero_point) {
  typedef Run<P> R;
  if (R::kHasMin && kCodeOffset == 0) return total;
  const int sum = R::kDepth == kActivationGroup ? group.sums[0] + group.sums[1] : group.sums[run_in_group];
  return total - (zero_point - kCodeOffset) * sum;
}

// Where the activations of a tile's rows lie: those of row i are i strides further on.
template <typename Activation>
struct TileRows {
  const Activation* codes;
  std::int64_t codes_stride;
  const ActivationGroup* groups;
  std::int64_t groups_stride;
};

template <Packing P, typename Blocks, int M>
OCTAVO_VEC void add_run(Vec (*sums)[kPanelVecs], const std::uint8_t* words, const ScaleAndMin* scales,
                        const TileRows<typename Blocks::Dot::Activation>& rows, int run_in_group, int zero_point) {
  typedef typename Blocks::Dot Dot;
  typename Dot::Sum dots[M][kPanelVecs];
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i) {
    for (int vec = 0; vec < kPanelVecs; ++vec) dots[i][vec] = Dot::start(rows.codes + i * rows.codes_stride);
  }
  add_run_products<Blocks, M>(dots, words, rows.codes + Dot::kStart, rows.codes_stride);
  const ActivationGroup* group = rows.groups;
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i, group += rows.groups_stride) {
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const IntVec total = Blocks::total(dots[i][vec], *group, run_in_group, zero_point);
      sums[i][vec] = fma(to_float(total), scales[vec].scale * broadcast(group->scale), sums[i][vec]);
      if (Run<P>::kHasMin) sums[i][vec] = fma(scales[vec].min, broadcast(group->scaled_sum), sums[i][vec]);
    }
  }
}

// Adds the products of k = first_k .. end_k - 1, whose blocks begin at `block` and whose activations at `rows`, to M rows of `sums`.
// With each block some bytes ahead are fetched.
template <Packing P, typename Blocks, int M>
OCTAVO_VEC void add_blocks(Vec (*sums)[kPanelVecs], const std::uint8_t* block, const LinearTask& task,
                           TileRows<typename Blocks::Dot::Activation> rows, std::int64_t first_k, std::int64_t end_k, Ahead ahead) {
  typedef Run<P> R;
  const int zero_point = static_cast<int>(task.zero_point);
  for (std::int64_t k = first_k; k < end_k; k += R::kShape.depth, block += Blocks::kBlockBytes) {
    prefetch(ahead.at, ahead.step);
    ahead.at += ahead.step;
    ScaleAndMin scales[kPanelVecs];
    for (int vec = 0; vec < kPanelVecs; ++vec) scales[vec] = Blocks::load_scales(block, vec, task);
    for (int run = 0; run < R::kRunsPerBlock; ++run) {
      const int run_in_group = R::kDepth == kActivationGroup ? 0 : static_cast<int>(k / R::kDepth % 2);
      add_run<P, Blocks, M>(sums, block + run * Blocks::kRunBytes, scales, rows, run_in_group, zero_point);
      rows.codes += Blocks::kRunActivations;
      rows.groups += R::kDepth == kActivationGroup ? 1 : run_in_group;
    }
  }
}

// Not by an initializer, which compilers turn into a call or a string instruction.
template <int M>
OCTAVO_VEC void clear(Vec (*sums)[kPanelVecs]) {
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
    for (int vec = 0; vec < kPanelVecs; ++vec) sums[row][vec] = zero();
  }
}

// Some k of a panel times some rows. Sums go on from y, where the k before left them.
struct Part {
  std::int64_t first_k, end_k;
  const std::uint8_t* blocks;
  std::int64_t column;
};

// Rows row .. row + count - 1 of y, of which the activations from first_k on are `rows`; Least <= count <= M.
template <Packing P, typename Blocks, int Least, int M>
static void multiply_part(const LinearTask& task, const Part& part, std::int64_t row, std::int64_t count,
                          const TileRows<typename Blocks::Dot::Activation>& rows, Ahead ahead) {
  if constexpr (M > Least) {
    if (count < M) return multiply_part<P, Blocks, Least, M - 1>(task, part, row, count, rows, ahead);
  }
  Vec sums[M][kPanelVecs];
  clear<M>(sums);
  float* y = task.y + row * task.y_stride + part.column;
  if (part.first_k > 0) {
    for (int i = 0; i < M; ++i) load_columns(y + i * task.y_stride, sums[i], task.num_outputs - part.column);
  }
  add_blocks<P, Blocks, M>(sums, part.blocks, task, rows, part.first_k, part.end_k, ahead);
  for (int i = 0; i < M; ++i) store_columns(y + i * task.y_stride, sums[i], task.num_outputs - part.column);
}

// The activations as they were quantized.
OCTAVO_VEC TileRows<std::int8_t> quantized_rows(const QuantizedRows& x, std::int64_t row, std::int64_t first_k) {
  return {x.codes + row * x.cols + first_k, x.cols, x.groups + row * x.num_groups() + first_k / kActivationGroup, x.num_groups()};
}

// The height of the next tile, where rows left are worked on in tiles of nearly equal height.
OCTAVO_VEC std::int64_t next_tile(std::int64_t rows_left, int most) {
  const std::int64_t num_tiles = (rows_left + most - 1) / most;
  return (rows_left + num_tiles - 1) / num_tiles;
}

}  // namespace octavo::OCTAVO_ISA
