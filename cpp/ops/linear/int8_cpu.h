// Int8 arithmetic (linear.h): codes of weights and of activations are multiplied as integers, a run of up to 32 k at a time, then
// scaled. A register tile is M rows by the columns of a panel.
//
// Panels are decoded in registers, anew for each tile, which is cheap beside M products. With many rows AVX2 gains by spreading nibbles
// to bytes and scales to floats once for all tiles, a part of the panel at a time that stays in the nearest cache (AVX-512 loses by it).
// For linear_cpu.cc alone.
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

// Blocks as they are packed. Words are a run's.
template <Packing P>
struct PackedBlocks {
  typedef Run<P> R;
  typedef CodeDecoder<P> Decoder;
  static constexpr int kBlockBytes = Decoder::kBlockBytes, kRunBytes = R::kWords * 4 * kPanelWidth;
  OCTAVO_VEC typename R::Dot::Codes load_codes(const std::uint8_t* words, int index, int vec) {
    return R::Dot::decode(load_panel_words(words, index, vec));
  }
  OCTAVO_VEC ScaleAndMin load_scales(const std::uint8_t* block, int vec, const LinearTask& task) {
    return Decoder::load_scales(block, vec, task);
  }
};

// Blocks of nibbles spread out: bytes [depth / 4][width][4], then scales and mins [width] in float32.
template <Packing P>
struct SpreadBlocks {
  typedef Run<P> R;
  static constexpr int kDepth = R::kShape.depth, kCodeBytes = kDepth * kPanelWidth;
  static constexpr int kBlockBytes = kCodeBytes + 2 * 4 * kPanelWidth, kRunBytes = R::kDepth * kPanelWidth;
  OCTAVO_VEC Nibbles load_codes(const std::uint8_t* words, int index, int vec) {
    return {load_panel_words(words, 2 * index, vec), load_panel_words(words, 2 * index + 1, vec)};
  }
  OCTAVO_VEC ScaleAndMin load_scales(const std::uint8_t* block, int vec, const LinearTask&) {
    const float* scales = reinterpret_cast<const float*>(block + kCodeBytes) + vec * kLanes;
    return {load(scales), load(scales + kPanelWidth)};
  }

  static void spread(const std::uint8_t* packed, const LinearTask& task, std::uint8_t* to) {
    for (int index = 0; index < kDepth / R::kPerWord; ++index) {
      for (int vec = 0; vec < kPanelVecs; ++vec) {
        const Nibbles nibbles = split_nibbles(load_panel_words(packed, index, vec));
        std::memcpy(to + (2 * index * kPanelWidth + vec * kLanes) * 4, &nibbles.low, sizeof nibbles.low);
        std::memcpy(to + ((2 * index + 1) * kPanelWidth + vec * kLanes) * 4, &nibbles.high, sizeof nibbles.high);
      }
    }
    float* scales = reinterpret_cast<float*>(to + kCodeBytes);
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const ScaleAndMin loaded = CodeDecoder<P>::load_scales(packed, vec, task);
      store(scales + vec * kLanes, loaded.scale);
      store(scales + kPanelWidth + vec * kLanes, loaded.min);
    }
  }
};

template <Packing P, typename Blocks, int M, int Index = 0>
OCTAVO_VEC void add_run_products(typename Run<P>::Dot::Sum (*dots)[kPanelVecs], const std::uint8_t* words, const std::int8_t* x,
                                 std::int64_t stride) {
  typedef Run<P> R;
  if constexpr (Index < R::kWords) {
    typename R::Dot::Codes codes[kPanelVecs];
    for (int vec = 0; vec < kPanelVecs; ++vec) codes[vec] = Blocks::load_codes(words, Index, vec);
#pragma GCC unroll 8
    for (int row = 0; row < M; ++row) {
      for (int vec = 0; vec < kPanelVecs; ++vec) {
        R::Dot::add(dots[row][vec], codes[vec], x + row * stride + Index * R::kPerWord);
        R::Dot::pin(dots[row][vec]);
      }
    }
    add_run_products<P, Blocks, M, Index + 1>(dots, words, x, stride);
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

// Where the activations of a tile's rows lie: codes and groups of row i are i strides further on.
struct TileRows {
  const std::int8_t* codes;
  const ActivationGroup* groups;
  std::int64_t codes_stride;
  std::int64_t groups_stride;
};

template <Packing P, typename Blocks, int M>
OCTAVO_VEC void add_run(Vec (*sums)[kPanelVecs], const std::uint8_t* words, const ScaleAndMin* scales, const TileRows& rows,
                        int run_in_group, int zero_point) {
  typedef Run<P> R;
  typename R::Dot::Sum dots[M][kPanelVecs] = {};
  add_run_products<P, Blocks, M>(dots, words, rows.codes, rows.codes_stride);
  const ActivationGroup* group = rows.groups;
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i, group += rows.groups_stride) {
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const IntVec total = without_zero_point<P>(R::Dot::total(dots[i][vec]), *group, run_in_group, zero_point);
      sums[i][vec] = fma(to_float(total), scales[vec].scale * broadcast(group->scale), sums[i][vec]);
      if (R::kHasMin) sums[i][vec] = fma(scales[vec].min, broadcast(group->scaled_sum), sums[i][vec]);
    }
  }
}

// Adds the products of k = first_k .. end_k - 1, whose blocks begin at `block`, to M rows of `sums`. Meanwhile as many packed blocks
// from `ahead` on, unless it is null, are prefetched.
template <Packing P, typename Blocks, int M>
OCTAVO_VEC void add_blocks(Vec (*sums)[kPanelVecs], const std::uint8_t* block, const LinearTask& task, std::int64_t row,
                           std::int64_t first_k, std::int64_t end_k, const std::uint8_t* ahead) {
  typedef Run<P> R;
  const QuantizedRows& x = task.quantized;
  const int zero_point = static_cast<int>(task.zero_point);
  TileRows rows{x.codes + row * x.cols + first_k, x.groups + row * x.num_groups() + first_k / kActivationGroup, x.cols, x.num_groups()};
  for (std::int64_t k = first_k; k < end_k; k += R::kShape.depth, block += Blocks::kBlockBytes) {
    if (ahead) {
      prefetch(ahead, CodeDecoder<P>::kBlockBytes);
      ahead += CodeDecoder<P>::kBlockBytes;
    }
    ScaleAndMin scales[kPanelVecs];
    for (int vec = 0; vec < kPanelVecs; ++vec) scales[vec] = Blocks::load_scales(block, vec, task);
    for (int run = 0; run < R::kRunsPerBlock; ++run) {
      const int run_in_group = R::kDepth == kActivationGroup ? 0 : static_cast<int>(k / R::kDepth % 2);
      add_run<P, Blocks, M>(sums, block + run * Blocks::kRunBytes, scales, rows, run_in_group, zero_point);
      rows.codes += R::kDepth;
      rows.groups += R::kDepth == kActivationGroup ? 1 : run_in_group;
    }
  }
}

// Rows left are worked on in tiles of nearly equal height.
OCTAVO_VEC std::int64_t next_tile(std::int64_t rows_left) {
  const std::int64_t num_tiles = (rows_left + kInt8Rows - 1) / kInt8Rows;
  return (rows_left + num_tiles - 1) / num_tiles;
}

// Not by an initializer, which compilers turn into a call or a string instruction.
template <int M>
OCTAVO_VEC void clear(Vec (*sums)[kPanelVecs]) {
#pragma GCC unroll 8
  for (int row = 0; row < M; ++row) {
    for (int vec = 0; vec < kPanelVecs; ++vec) sums[row][vec] = zero();
  }
}

template <Packing P, int M = kInt8Rows>
static void multiply_packed(const LinearTask& task, std::int64_t column, std::int64_t row, std::int64_t count) {
  if constexpr (M > 1) {
    if (count < M) return multiply_packed<P, M - 1>(task, column, row, count);
  }
  Vec sums[M][kPanelVecs];
  clear<M>(sums);
  const std::uint8_t* panel = task.panels + column / kPanelWidth * task.panel_bytes;
  add_blocks<P, PackedBlocks<P>, M>(sums, panel, task, row, 0, task.num_cols, row == 0 ? panel + kPrefetchBytes : nullptr);
  for (int i = 0; i < M; ++i) store_columns(task.y + (row + i) * task.y_stride + column, sums[i], task.num_outputs - column);
}

template <Packing P>
static void compute_packed(const LinearTask& task) {
  for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth) {
    for (std::int64_t row = 0, rows; row < task.num_rows; row += rows) {
      rows = next_tile(task.num_rows - row);
      multiply_packed<P>(task, column, row, rows);
    }
  }
}

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
constexpr bool kSpreads = true;
#else
constexpr bool kSpreads = false;
#endif
constexpr std::int64_t kSpreadCols = 768;    // k that are spread at a time
constexpr std::int64_t kRowBlockBytes = 192 << 10;
constexpr std::int64_t kMinSpreadRows = 16;  // from 2 * kInt8Rows on, tiles are at least kInt8Rows - 2 high

// Sums go on from y, where the part of k before this one left them.
template <Packing P, int M = kInt8Rows>
static void multiply_spread(const LinearTask& task, const std::uint8_t* spread, std::int64_t row, std::int64_t count, std::int64_t first_k,
                            std::int64_t end_k, std::int64_t column, const std::uint8_t* ahead) {
  if constexpr (M > kInt8Rows - 2) {
    if (count < M) return multiply_spread<P, M - 1>(task, spread, row, count, first_k, end_k, column, ahead);
  }
  Vec sums[M][kPanelVecs];
  clear<M>(sums);
  float* y = task.y + row * task.y_stride + column;
  if (first_k > 0) {
    for (int i = 0; i < M; ++i) load_columns(y + i * task.y_stride, sums[i], task.num_outputs - column);
  }
  add_blocks<P, SpreadBlocks<P>, M>(sums, spread, task, row, first_k, end_k, ahead);
  for (int i = 0; i < M; ++i) store_columns(y + i * task.y_stride, sums[i], task.num_outputs - column);
}

// One part of the panel of `column` at a time, with rows first_row .. end_row - 1.
template <Packing P>
static void multiply_spread_panel(const LinearTask& task, std::int64_t column, std::int64_t first_row, std::int64_t end_row) {
  typedef SpreadBlocks<P> Blocks;
  constexpr std::int64_t kDepth = Blocks::kDepth;
  alignas(64) std::uint8_t spread[kSpreadCols / kDepth * Blocks::kBlockBytes];
  const std::uint8_t* block = task.panels + column / kPanelWidth * task.panel_bytes;
  for (std::int64_t k = 0; k < task.num_cols; k += kSpreadCols) {
    const std::int64_t end = k + kSpreadCols < task.num_cols ? k + kSpreadCols : task.num_cols;
    for (std::int64_t i = 0; i < (end - k) / kDepth; ++i, block += CodeDecoder<P>::kBlockBytes) {
      Blocks::spread(block, task, spread + i * Blocks::kBlockBytes);
    }
    for (std::int64_t row = first_row, rows; row < end_row; row += rows) {
      rows = next_tile(end_row - row);
      multiply_spread<P>(task, spread, row, rows, k, end, column, row == first_row ? block : nullptr);
    }
  }
}

// As many rows at a time as a near cache holds of their codes and scales, 3 bytes for two k: all panels go past them.
template <Packing P>
static void compute_spread(const LinearTask& task) {
  const std::int64_t most = kRowBlockBytes / (task.num_cols + task.num_cols / 2);
  const std::int64_t num_blocks = (task.num_rows + most - 1) / (most > kMinSpreadRows ? most : kMinSpreadRows);
  std::int64_t end_row = 0;
  for (std::int64_t index = 0; index < num_blocks; ++index) {
    const std::int64_t first_row = end_row;
    end_row = task.num_rows * (index + 1) / num_blocks;
    for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth) {
      multiply_spread_panel<P>(task, column, first_row, end_row);
    }
  }
}

template <Packing P>
static void compute_int8(const LinearTask& task) {
  if constexpr (kSpreads && Run<P>::kNibbles) {
    if (task.num_rows >= kMinSpreadRows) return compute_spread<P>(task);
  }
  compute_packed<P>(task);
}

}  // namespace octavo::OCTAVO_ISA
