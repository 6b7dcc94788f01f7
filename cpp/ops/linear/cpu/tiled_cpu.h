// Many rows: a stretch of each panel is decoded once into a tile in the near cache and multiplied with all rows, a register tile
// of kRowTile x kPanelWidth sums at a time. Between stretches the sums rest in y, which costs no accuracy: they are float32 there
// as in registers. For linear_cpu.cc alone.
#pragma once
#include "ops/linear/cpu/exceptions_cpu.h"
#include "ops/linear/cpu/read_ahead_cpu.h"

namespace octavo::OCTAVO_ISA {

// As many rows as leave registers for a row of the tile and a broadcast value.
#if defined(__AVX512F__)
constexpr int kRowTile = 12;
#elif defined(__AVX2__)
constexpr int kRowTile = 6;
#elif defined(__ARM_NEON) || defined(__VSX__)
constexpr int kRowTile = 8;
#else
constexpr int kRowTile = 4;
#endif

constexpr int kTileDepth = 16384 / kPanelWidth;  // 64 KiB per tile
constexpr std::int64_t kRowBlock = 12 * kRowTile;

// How weights lie in a tile: a row [kPanelWidth] of words for every kGroup k, of which weight<J> is that of k = J of the group.
struct FloatRows {
  static constexpr int kGroup = 1;
  template <int J>
  OCTAVO_VEC Vec weight(const float* row, int vec) {
    return load(row + vec * kLanes);
  }
};

template <typename Decoder>
struct TileOf {
  typedef FloatRows Rows;
  OCTAVO_VEC void unpack(const std::uint8_t* block, int depth, const LinearTask& task, float* to) {
    decode_tile<Decoder>(block, depth, task, to);
  }
};

#if defined(__AVX2__) && !defined(__AVX512F__)
// Words of two bfloat16 as in Packing::bf16. Each register tile takes them apart again, but they are written in half the time: it pays
// where fma leaves other ports free.
struct Bf16Pairs {
  static constexpr int kGroup = 2;
  template <int J>
  OCTAVO_VEC Vec weight(const float* row, int vec) {
    if (J == 1) asm("" : "+r"(row));  // loaded once more: keeping the words would take a register too many
    return Bf16Decoder::weight<J>(load_words(reinterpret_cast<const std::uint8_t*>(row + vec * kLanes)), {});
  }
};

template <>
struct TileOf<Bf16Decoder> {
  typedef Bf16Pairs Rows;  // as they are packed
};

template <>
struct TileOf<Bf16CompactDecoder> {
  typedef Bf16CompactDecoder Decoder;
  typedef Bf16Pairs Rows;
  template <int J = 0>
  OCTAVO_VEC void store_pairs(const Decoder::Word& word, Decoder::Scales upper_bytes, float* to) {
    if constexpr (J < Decoder::kBlock) {
      const WordVec pairs = Decoder::pair<J>(word, upper_bytes);
      std::memcpy(to, &pairs, sizeof pairs);
      store_pairs<J + 2>(word, upper_bytes, to + kPanelWidth);
    }
  }
  OCTAVO_VEC void unpack(const std::uint8_t* block, int depth, const LinearTask& task, float* to) {
    const Decoder::Scales upper_bytes = Decoder::load_scales(block, 0, task);
    for (int k = 0; k < depth; k += Decoder::kBlock, block += Decoder::kBlockBytes, to += Decoder::kBlock / 2 * kPanelWidth) {
      for (int vec = 0; vec < kPanelVecs; ++vec) store_pairs(Decoder::load_word(block, 0, vec), upper_bytes, to + vec * kLanes);
    }
  }
};

// Keeps a sum in its register, where the compiler is tempted to move it about.
OCTAVO_VEC void pin(Vec& sum) { asm("" : "+x"(sum)); }
#else
OCTAVO_VEC void pin(Vec&) {}
#endif

struct alignas(64) Tile {
  float weights[kTileDepth * kPanelWidth];
};

// A stretch of k of a panel, ready to be multiplied, and what to fetch with every k.
struct Stretch {
  const float* weights;  // [depth / kGroup][kPanelWidth]
  int depth;
  bool first;  // k begins at 0
  Ahead ahead;
};

template <typename Rows, int M, int J>
OCTAVO_VEC void add_products(Vec (*sums)[kPanelVecs], const float* x, std::int64_t x_stride, const float* row) {
  const Vec weights[kPanelVecs] = {Rows::template weight<J>(row, 0), Rows::template weight<J>(row, 1)};
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
    const Vec value = broadcast(x[i * x_stride + J]);
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      sums[i][vec] = fma(value, weights[vec], sums[i][vec]);
      pin(sums[i][vec]);
    }
  }
}

// y[M][kPanelWidth] (+)= x[M][depth] weights[depth][kPanelWidth]
template <typename Rows, int M>
static void multiply_tile(const float* x, std::int64_t x_stride, const Stretch& stretch, float* y, std::int64_t y_stride) {
  Vec sums[M][kPanelVecs];
#pragma GCC unroll 16
  for (int row = 0; row < M; ++row) {
    for (int vec = 0; vec < kPanelVecs; ++vec) sums[row][vec] = stretch.first ? zero() : load(y + row * y_stride + vec * kLanes);
  }
  const float* tile = stretch.weights;
  const std::uint8_t* ahead = stretch.ahead.at;
  const int ahead_step = stretch.ahead.step * Rows::kGroup;
  int k = 0;
  for (; k + Rows::kGroup <= stretch.depth; k += Rows::kGroup, tile += kPanelWidth, x += Rows::kGroup, ahead += ahead_step) {
    __builtin_prefetch(ahead);
    add_products<Rows, M, 0>(sums, x, x_stride, tile);
    if constexpr (Rows::kGroup == 2) add_products<Rows, M, 1>(sums, x, x_stride, tile);
  }
  if (Rows::kGroup == 2 && k < stretch.depth) add_products<Rows, M, 0>(sums, x, x_stride, tile);
#pragma GCC unroll 16
  for (int row = 0; row < M; ++row) {
    for (int vec = 0; vec < kPanelVecs; ++vec) store(y + row * y_stride + vec * kLanes, sums[row][vec]);
  }
}

template <typename Rows, int M = kRowTile>
static void multiply_tile_rows(int rows, const float* x, std::int64_t x_stride, const Stretch& stretch, float* y, std::int64_t y_stride) {
  if constexpr (M > 1) {
    if (rows < M) return multiply_tile_rows<Rows, M - 1>(rows, x, x_stride, stretch, y, y_stride);
  }
  multiply_tile<Rows, M>(x, x_stride, stretch, y, y_stride);
}

// The last panel of a weight may have fewer columns than its width: y must not be touched beyond them.
template <typename Rows>
static void multiply_narrow_tile(int rows, const float* x, std::int64_t x_stride, const Stretch& stretch, float* y, std::int64_t y_stride,
                                 int columns) {
  float sums[kRowTile * kPanelWidth] = {};
  const std::size_t row_bytes = static_cast<std::size_t>(columns) * sizeof(float);
  for (int row = 0; row < rows && !stretch.first; ++row) std::memcpy(sums + row * kPanelWidth, y + row * y_stride, row_bytes);
  multiply_tile_rows<Rows>(rows, x, x_stride, stretch, sums, kPanelWidth);
  for (int row = 0; row < rows; ++row) std::memcpy(y + row * y_stride, sums + row * kPanelWidth, row_bytes);
}

// Rows are shared out evenly: a last tile of one or two would have too few chains of fma to hide its latency.
OCTAVO_VEC int next_row_tile(std::int64_t rows_left) {
  const std::int64_t num_tiles = (rows_left + kRowTile - 1) / kRowTile;
  return static_cast<int>((rows_left + num_tiles - 1) / num_tiles);
}

// Up to kRowBlock rows, so that a stretch of them stays in a near cache while all panels go past it.
struct RowBlock {
  std::int64_t first;
  std::int64_t end;
};

// With the first row tile the packed bytes ahead are fetched, then what the task has to fetch on the side.
template <typename Rows>
static void multiply_stretch(const LinearTask& task, const RowBlock& block, std::int64_t column, std::int64_t k, Stretch stretch,
                             AheadWalk& walk) {
  const std::int64_t columns = task.num_outputs - column;
  for (std::int64_t row = block.first, rows; row < block.end; row += rows, stretch.ahead = walk.next()) {
    rows = next_row_tile(block.end - row);
    const float* x = task.x + row * task.x_stride + k;
    float* y = task.y + row * task.y_stride + column;
    if (columns >= kPanelWidth) {
      multiply_tile_rows<Rows>(static_cast<int>(rows), x, task.x_stride, stretch, y, task.y_stride);
    } else {
      multiply_narrow_tile<Rows>(static_cast<int>(rows), x, task.x_stride, stretch, y, task.y_stride, static_cast<int>(columns));
    }
  }
}

// Stretches of k of about equal depth, in whole blocks.
template <typename Decoder>
OCTAVO_VEC int stretch_depth(std::int64_t num_cols) {
  const std::int64_t count = (num_cols + kTileDepth - 1) / kTileDepth;
  const std::int64_t even = (num_cols + count - 1) / count;
  return static_cast<int>((even + Decoder::kBlock - 1) / Decoder::kBlock * Decoder::kBlock);
}

template <typename Decoder>
static void multiply_panels(const LinearTask& task, const RowBlock& rows, std::int64_t k, int depth, Tile& tile, AheadWalk& walk) {
  typedef typename TileOf<Decoder>::Rows Rows;
  constexpr bool kIsTile = Decoder::kBlock == Rows::kGroup && Decoder::kBlockBytes == kPanelWidth * 4;  // packed as a tile is
  const std::uint8_t* block = task.panels + k / Decoder::kBlock * Decoder::kBlockBytes;
  Stretch stretch{tile.weights, depth, k == 0, {}};
  for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth, block += task.panel_bytes) {
    stretch.ahead = {block + task.panel_bytes, Decoder::kBlockBytes / Decoder::kBlock};
    if constexpr (kIsTile) {
      stretch.weights = reinterpret_cast<const float*>(block);
    } else {
      TileOf<Decoder>::unpack(block, depth, task, tile.weights);
      if constexpr (kHasExceptions<Decoder>) {
        put_exceptions<Rows::kGroup>(exceptions_of(task, column / kPanelWidth), k, depth, tile.weights);
      }
    }
    multiply_stretch<Rows>(task, rows, column, k, stretch, walk);
  }
}

template <typename Decoder>
static void compute_tiled(const LinearTask& task) {
  Tile tile;
  const int depth = stretch_depth<Decoder>(task.num_cols);
  const std::int64_t num_parts = tiles_of(task.num_outputs, kPanelWidth) * tiles_of(task.num_cols, depth);
  AheadWalk walk(task, num_parts * (tiles_of(task.num_rows, kRowTile) - tiles_of(task.num_rows, kRowBlock)), depth, 1,
                 kLineBytes / TileOf<Decoder>::Rows::kGroup);
  for (RowBlock rows{0, 0}; rows.end < task.num_rows; rows.first = rows.end) {
    rows.end = task.num_rows - rows.first < kRowBlock ? task.num_rows : rows.first + kRowBlock;
    for (std::int64_t k = 0; k < task.num_cols; k += depth) {
      multiply_panels<Decoder>(task, rows, k, static_cast<int>(task.num_cols - k < depth ? task.num_cols - k : depth), tile, walk);
    }
  }
}

}  // namespace octavo::OCTAVO_ISA
