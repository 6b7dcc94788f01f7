// Int8 arithmetic of 4-bit codes with many rows, for AVX2: nibbles are spread to bytes and scales to floats once for all tiles, a part
// of the panel at a time that stays in the nearest cache (AVX-512 loses by it). For linear_cpu.cc alone.
#pragma once
#include "ops/linear/cpu/int8_tile_cpu.h"

namespace octavo::OCTAVO_ISA {

constexpr std::int64_t kSpreadCols = 768;  // k that are spread at a time
constexpr std::int64_t kRowBlockBytes = 192 << 10;
constexpr int kSpreadTile = 4;               // rows: as many as leave registers for codes and a broadcast word
constexpr std::int64_t kMinSpreadRows = 16;  // from 2 * kSpreadTile on, tiles are at least kSpreadTile - 2 high

// Blocks of nibbles spread out: bytes [depth / 4][width][4], then scales and mins [width] in float32.
template <Packing P>
struct SpreadBlocks {
  typedef Run<P> R;
  typedef RunDot<true> Dot;
  static constexpr int kSteps = R::kWords, kRunActivations = R::kDepth;
  static constexpr int kDepth = R::kShape.depth, kCodeBytes = kDepth * kPanelWidth;
  static constexpr int kBlockBytes = kCodeBytes + 2 * 4 * kPanelWidth, kRunBytes = R::kDepth * kPanelWidth;
  OCTAVO_VEC Nibbles load_codes(const std::uint8_t* words, int index, int vec) {
    return {load_panel_words(words, 2 * index, vec), load_panel_words(words, 2 * index + 1, vec)};
  }
  OCTAVO_VEC int activation(int step) { return step * R::kPerWord; }
  OCTAVO_VEC IntVec total(const typename Dot::Sum& sum, const ActivationGroup& group, int run_in_group, int zero_point) {
    return without_zero_point<P, Dot::kCodeOffset>(Dot::total(sum), group, run_in_group, zero_point);
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

// One part of the panel of `column` at a time, with rows first_row .. end_row - 1. The first tile fetches the next part.
template <Packing P>
static void multiply_spread_panel(const LinearTask& task, std::int64_t column, std::int64_t first_row, std::int64_t end_row,
                                  AheadWalk& walk) {
  typedef SpreadBlocks<P> Blocks;
  constexpr std::int64_t kDepth = Blocks::kDepth;
  alignas(64) std::uint8_t spread[kSpreadCols / kDepth * Blocks::kBlockBytes];
  const std::uint8_t* block = task.panels + column / kPanelWidth * task.panel_bytes;
  for (std::int64_t k = 0; k < task.num_cols; k += kSpreadCols) {
    const Part part{k, k + kSpreadCols < task.num_cols ? k + kSpreadCols : task.num_cols, spread, column};
    for (std::int64_t i = 0; i < (part.end_k - k) / kDepth; ++i, block += CodeDecoder<P>::kBlockBytes) {
      Blocks::spread(block, task, spread + i * Blocks::kBlockBytes);
    }
    for (std::int64_t row = first_row, height; row < end_row; row += height) {
      height = next_tile(end_row - row, kSpreadTile);
      multiply_part<P, Blocks, kSpreadTile - 2, kSpreadTile>(task, part, row, height, quantized_rows(task.quantized, row, k),
                                                             row == first_row ? Ahead{block, CodeDecoder<P>::kBlockBytes} : walk.next());
    }
  }
}

// As many rows at a time as a near cache holds of their codes and scales, 3 bytes for two k: all panels go past them.
template <Packing P>
static void compute_spread(const LinearTask& task) {
  const std::int64_t in_cache = kRowBlockBytes / (task.num_cols + task.num_cols / 2);
  const std::int64_t most = in_cache > kMinSpreadRows ? in_cache : kMinSpreadRows;
  const std::int64_t num_blocks = (task.num_rows + most - 1) / most;
  const std::int64_t num_parts = tiles_of(task.num_outputs, kPanelWidth) * tiles_of(task.num_cols, kSpreadCols);
  const std::int64_t num_steps = (task.num_cols < kSpreadCols ? task.num_cols : kSpreadCols) / SpreadBlocks<P>::kDepth;
  AheadWalk walk(task, num_parts * (tiles_of(task.num_rows, kSpreadTile) - num_blocks), num_steps, kLineBytes, 2 * kLineBytes);
  std::int64_t end_row = 0;
  for (std::int64_t index = 0; index < num_blocks; ++index) {
    const std::int64_t first_row = end_row;
    end_row = task.num_rows * (index + 1) / num_blocks;
    for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth) {
      multiply_spread_panel<P>(task, column, first_row, end_row, walk);
    }
  }
}

}  // namespace octavo::OCTAVO_ISA
