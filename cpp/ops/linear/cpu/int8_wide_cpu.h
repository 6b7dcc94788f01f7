// Int8 arithmetic of 8-bit codes with several rows, for AVX2: activations are widened to 16 bits once for the panels of a task, codes in
// registers, so that vpmaddwd sums exactly to 32 bits. For linear_cpu.cc alone.
#pragma once
#include "ops/linear/cpu/int8_tile_cpu.h"

namespace octavo::OCTAVO_ISA {

constexpr std::int64_t kWideCols = 768;   // k that are widened at a time
constexpr std::int64_t kWideRows = 32;    // and rows
constexpr int kWideTile = 5;              // rows: as many as leave registers for codes, a broadcast pair and products
constexpr std::int64_t kMinWideRows = 3;  // rows beyond a tile are shared out evenly, so no tile has fewer: 6 are 3 + 3

// Blocks as they are packed. A step takes the even or the odd bytes of the words: k and k + 2, or k + 1 and k + 3.
template <Packing P>
struct WideBlocks {
  typedef WideDot Dot;
  static constexpr int kSteps = 2 * Run<P>::kWords, kRunActivations = WideDot::kStart + Run<P>::kDepth;
  static constexpr int kBlockBytes = CodeDecoder<P>::kBlockBytes, kRunBytes = Run<P>::kWords * 4 * kPanelWidth;
  OCTAVO_VEC WideDot::Codes load_codes(const std::uint8_t* words, int step, int vec) {
    const WordVec word = load_panel_words(words, step / 2, vec);
    return step % 2 ? WideDot::odd(word) : WideDot::even(word);
  }
  OCTAVO_VEC int activation(int step) { return step % 2 * (Run<P>::kDepth / 2) + step / 2 * 2; }
  OCTAVO_VEC ScaleAndMin load_scales(const std::uint8_t* block, int vec, const LinearTask& task) {
    return CodeDecoder<P>::load_scales(block, vec, task);
  }
  OCTAVO_VEC IntVec total(IntVec sum, const ActivationGroup&, int, int) { return sum; }
};

// Activations of some rows: of every run first what its sum starts with, then those that meet even codes, then those that meet odd ones.
template <Packing P>
class WideRows {
 public:
  typedef Run<P> R;

  void fill(const LinearTask& task, std::int64_t first_row, std::int64_t end_row, std::int64_t first_k, std::int64_t end_k) {
    const QuantizedRows& x = task.quantized;
    const int zero_point = static_cast<int>(task.zero_point);
    first_row_ = first_row;
    for (std::int64_t row = first_row; row < end_row; ++row) {
      const std::int8_t* codes = x.codes + row * x.cols;
      const ActivationGroup* groups = x.groups + row * x.num_groups();
      std::int16_t* to = runs_ + (row - first_row) * kStride;
      for (std::int64_t k = first_k; k < end_k; k += R::kDepth, to += WideBlocks<P>::kRunActivations) {
        const std::int32_t start =
            without_zero_point<P, 0>(0, groups[k / kActivationGroup], static_cast<int>(k / R::kDepth % 2), zero_point);
        std::memcpy(to, &start, sizeof start);
        WideDot::widen<R::kDepth>(codes + k, to + WideDot::kStart);
      }
    }
  }
  TileRows<std::int16_t> at(const QuantizedRows& x, std::int64_t row, std::int64_t first_k) const {
    return {runs_ + (row - first_row_) * kStride, kStride, x.groups + row * x.num_groups() + first_k / kActivationGroup, x.num_groups()};
  }

 private:
  static constexpr std::int64_t kStride = kWideCols / R::kDepth * WideBlocks<P>::kRunActivations;

  std::int64_t first_row_;
  std::int16_t runs_[kWideRows * kStride];
};

template <Packing P>
static void compute_wide(const LinearTask& task) {
  typedef WideBlocks<P> Blocks;
  WideRows<P> wide;
  const std::int64_t num_blocks = (task.num_rows + kWideRows - 1) / kWideRows;
  const std::int64_t num_parts = tiles_of(task.num_outputs, kPanelWidth) * tiles_of(task.num_cols, kWideCols);
  const std::int64_t num_steps = (task.num_cols < kWideCols ? task.num_cols : kWideCols) / Run<P>::kShape.depth;
  AheadWalk walk(task, num_parts * (tiles_of(task.num_rows, kWideTile) - num_blocks), num_steps, kLineBytes, 2 * kLineBytes);
  for (std::int64_t index = 0, first_row = 0, end_row; index < num_blocks; ++index, first_row = end_row) {
    end_row = task.num_rows * (index + 1) / num_blocks;
    for (std::int64_t k = 0; k < task.num_cols; k += kWideCols) {
      const std::int64_t end_k = k + kWideCols < task.num_cols ? k + kWideCols : task.num_cols;
      Part part{k, end_k, task.panels + k / Run<P>::kShape.depth * Blocks::kBlockBytes, 0};
      wide.fill(task, first_row, end_row, k, end_k);
      for (; part.column < task.num_outputs; part.column += kPanelWidth, part.blocks += task.panel_bytes) {
        for (std::int64_t row = first_row, height; row < end_row; row += height) {
          height = next_tile(end_row - row, kWideTile);
          multiply_part<P, Blocks, kMinWideRows, kWideTile>(
              task, part, row, height, wide.at(task.quantized, row, k),
              row == first_row ? Ahead{part.blocks + task.panel_bytes, Blocks::kBlockBytes} : walk.next());
        }
      }
    }
  }
}

}  // namespace octavo::OCTAVO_ISA
