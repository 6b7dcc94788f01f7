// Int8 arithmetic (linear.h): codes of weights and of activations are multiplied as integers, a run of up to 32 k at a time, then
// scaled. Every way to do it gives the same integers and scales them in the same order. For linear_cpu.cc alone.
#pragma once
#include "ops/linear/cpu/int8_tile_cpu.h"
#if defined(OCTAVO_PAIR_DOTS)
#include "ops/linear/cpu/int8_spread_cpu.h"
#include "ops/linear/cpu/int8_wide_cpu.h"
#endif

namespace octavo::OCTAVO_ISA {

// Blocks as they are packed, decoded in registers anew for each tile.
template <Packing P>
struct PackedBlocks {
  typedef Run<P> R;
  typedef CodeDecoder<P> Decoder;
  typedef RunDot<R::kNibbles> Dot;
  static constexpr int kSteps = R::kWords, kRunActivations = R::kDepth;
  static constexpr int kBlockBytes = Decoder::kBlockBytes, kRunBytes = R::kWords * 4 * kPanelWidth;
  OCTAVO_VEC typename Dot::Codes load_codes(const std::uint8_t* words, int step, int vec) {
    return Dot::decode(load_panel_words(words, step, vec));
  }
  OCTAVO_VEC int activation(int step) { return step * R::kPerWord; }
  OCTAVO_VEC IntVec total(const typename Dot::Sum& sum, const ActivationGroup& group, int run_in_group, int zero_point) {
    return without_zero_point<P, Dot::kCodeOffset>(Dot::total(sum), group, run_in_group, zero_point);
  }
  OCTAVO_VEC ScaleAndMin load_scales(const std::uint8_t* block, int vec, const LinearTask& task) {
    return Decoder::load_scales(block, vec, task);
  }
};

// As many rows as leave registers for codes and a broadcast word.
template <Packing P>
static constexpr int packed_tile() {
#if defined(__AVX512F__)
  return 6;
#elif defined(OCTAVO_PAIR_DOTS)
  return Run<P>::kNibbles ? 4 : kMinWideRows - 1;
#else
  return 4;
#endif
}

template <Packing P>
static void compute_packed(const LinearTask& task) {
  typedef PackedBlocks<P> Blocks;
  constexpr int kTile = packed_tile<P>();
  AheadWalk walk(task, tiles_of(task.num_outputs, kPanelWidth) * (tiles_of(task.num_rows, kTile) - 1), task.num_cols / Run<P>::kShape.depth,
                 kLineBytes, 2 * kLineBytes);
  const std::uint8_t* panel = task.panels;
  for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth, panel += task.panel_bytes) {
    const Part part{0, task.num_cols, panel, column};
    for (std::int64_t row = 0, height; row < task.num_rows; row += height) {
      height = next_tile(task.num_rows - row, kTile);
      multiply_part<P, Blocks, 1, kTile>(task, part, row, height, quantized_rows(task.quantized, row, 0),
                                         row == 0 ? Ahead{panel + kPrefetchBytes, Blocks::kBlockBytes} : walk.next());
    }
  }
}

template <Packing P>
static void compute_int8(const LinearTask& task) {
#if defined(OCTAVO_PAIR_DOTS)
  if constexpr (Run<P>::kNibbles) {
    if (task.num_rows >= kMinSpreadRows) return compute_spread<P>(task);
  } else {
    if (task.num_rows >= kMinWideRows) return compute_wide<P>(task);
  }
#endif
  compute_packed<P>(task);
}

}  // namespace octavo::OCTAVO_ISA
