// Many rows: a stretch of each panel is decoded once into a tile in the near cache and multiplied with all rows, a register tile
// of kRowTile x kPanelWidth sums at a time. Between stretches the sums rest in y, which costs no accuracy: they are float32 there
// as in registers. For linear_cpu.cc alone.
#pragma once
#include "ops/linear/decode_cpu.h"
#include "ops/linear/linear_kernels.h"

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

constexpr int kTileDepth = 4096 / kPanelWidth;   // 16 KiB per tile
constexpr int kTilePanels = 3;                   // share one copy of the rows
constexpr int kRowStride = kTileDepth + 64 / 4;  // not a power of two: rows must not fall into one set of the cache

struct alignas(64) Tile {
  float weights[kTileDepth * kPanelWidth];
};

template <typename Decoder, int J = 0>
OCTAVO_VEC void decode_word(typename Decoder::Word word, typename Decoder::Scales scales, float* to) {
  if constexpr (J < Decoder::kPerWord) {
    store(to + J * kPanelWidth, Decoder::template weight<J>(word, scales));
    decode_word<Decoder, J + 1>(word, scales, to);
  }
}

// [depth][kPanelWidth] weights from the blocks that hold them; whole blocks, so perhaps one k more than asked for. Meanwhile the
// blocks `ahead` bytes further on are prefetched.
template <typename Decoder>
static void decode_tile(const std::uint8_t* block, int depth, float zero_point, std::int64_t ahead, float* to) {
  for (int k = 0; k < depth; k += Decoder::kBlock, block += Decoder::kBlockBytes) {
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const typename Decoder::Scales scales = Decoder::load_scales(block, vec, zero_point);
      for (int index = 0; index * Decoder::kPerWord < Decoder::kBlock; ++index) {
        float* at = to + (k + index * Decoder::kPerWord) * kPanelWidth + vec * kLanes;
        if (vec == 0) prefetch(block + ahead + index * kShareBytes<Decoder>, kShareBytes<Decoder>);
        decode_word<Decoder>(Decoder::load_word(block, index, vec), scales, at);
      }
    }
  }
}

// y[M][kPanelWidth] (+)= x[M][depth] tile[depth][kPanelWidth]
template <int M>
static void multiply_tile(const float* x, const float* tile, int depth, bool first, float* y, std::int64_t y_stride) {
  Vec sums[M][kPanelVecs];
#pragma GCC unroll 16
  for (int row = 0; row < M; ++row) {
    for (int vec = 0; vec < kPanelVecs; ++vec) sums[row][vec] = first ? zero() : load(y + row * y_stride + vec * kLanes);
  }
  for (int k = 0; k < depth; ++k, tile += kPanelWidth, ++x) {
    const Vec weights[kPanelVecs] = {load(tile), load(tile + kLanes)};
#pragma GCC unroll 16
    for (int row = 0; row < M; ++row) {
      const Vec value = broadcast(x[row * kRowStride]);
      for (int vec = 0; vec < kPanelVecs; ++vec) sums[row][vec] = fma(value, weights[vec], sums[row][vec]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < M; ++row) {
    for (int vec = 0; vec < kPanelVecs; ++vec) store(y + row * y_stride + vec * kLanes, sums[row][vec]);
  }
}

template <int M = kRowTile>
static void multiply_tile_rows(int rows, const float* x, const float* tile, int depth, bool first, float* y, std::int64_t y_stride) {
  if constexpr (M > 1) {
    if (rows < M) return multiply_tile_rows<M - 1>(rows, x, tile, depth, first, y, y_stride);
  }
  multiply_tile<M>(x, tile, depth, first, y, y_stride);
}

// The last panel of a weight may have fewer columns than its width: y must not be touched beyond them.
static void multiply_narrow_tile(int rows, const float* x, const float* tile, int depth, bool first, float* y, std::int64_t y_stride,
                                 int columns) {
  float sums[kRowTile * kPanelWidth] = {};
  const std::size_t row_bytes = static_cast<std::size_t>(columns) * sizeof(float);
  for (int row = 0; row < rows && !first; ++row) std::memcpy(sums + row * kPanelWidth, y + row * y_stride, row_bytes);
  multiply_tile_rows(rows, x, tile, depth, first, sums, kPanelWidth);
  for (int row = 0; row < rows; ++row) std::memcpy(y + row * y_stride, sums + row * kPanelWidth, row_bytes);
}

// A stretch of k of up to kTilePanels panels, ready to be multiplied.
struct Stretch {
  const float* tiles[kTilePanels];
  int num_tiles;
  std::int64_t column;  // of y, where the first tile begins
  std::int64_t k;
  int depth;
};

// Rows are shared out evenly: a last tile of one or two would have too few chains of fma to hide its latency.
OCTAVO_VEC int next_row_tile(std::int64_t rows_left) {
  const std::int64_t num_tiles = (rows_left + kRowTile - 1) / kRowTile;
  return static_cast<int>((rows_left + num_tiles - 1) / num_tiles);
}

static void multiply_stretch(const LinearTask& task, const Stretch& stretch) {
  alignas(64) float x[kRowTile * kRowStride];
  const std::size_t row_bytes = static_cast<std::size_t>(stretch.depth) * sizeof(float);
  int rows;
  for (std::int64_t row = 0; row < task.num_rows; row += rows) {
    rows = next_row_tile(task.num_rows - row);
    for (int i = 0; i < rows; ++i) {
      std::memcpy(x + i * kRowStride, task.x + (row + i) * task.x_stride + stretch.k, row_bytes);
    }
    for (int i = 0; i < stretch.num_tiles; ++i) {
      const std::int64_t column = stretch.column + i * kPanelWidth;
      float* y = task.y + row * task.y_stride + column;
      const bool first = stretch.k == 0;
      const std::int64_t columns = task.num_outputs - column;
      if (columns >= kPanelWidth) {
        multiply_tile_rows(rows, x, stretch.tiles[i], stretch.depth, first, y, task.y_stride);
      } else {
        multiply_narrow_tile(rows, x, stretch.tiles[i], stretch.depth, first, y, task.y_stride, static_cast<int>(columns));
      }
    }
  }
}

// Packed float32 is a tile already.
template <typename Decoder>
OCTAVO_VEC const float* tile_of(const LinearTask& task, std::int64_t column, std::int64_t k, int depth, Tile& tile) {
  const std::int64_t k_bytes = k / Decoder::kBlock * Decoder::kBlockBytes;
  const std::uint8_t* block = task.panels + column / kPanelWidth * task.panel_bytes + k_bytes;
  if (Decoder::kBlockBytes == kPanelWidth * 4 && Decoder::kBlock == 1) return reinterpret_cast<const float*>(block);
  const bool last = k + kTileDepth >= task.num_cols;
  const std::int64_t ahead = last ? kTilePanels * task.panel_bytes - k_bytes : kTileDepth / Decoder::kBlock * Decoder::kBlockBytes;
  decode_tile<Decoder>(block, depth, task.zero_point, ahead, tile.weights);
  return tile.weights;
}

template <typename Decoder>
static void compute_tiled(const LinearTask& task) {
  Tile tiles[kTilePanels];
  for (std::int64_t column = 0; column < task.num_outputs; column += kTilePanels * kPanelWidth) {
    for (std::int64_t k = 0; k < task.num_cols; k += kTileDepth) {
      Stretch stretch;
      stretch.column = column;
      stretch.k = k;
      stretch.depth = static_cast<int>(task.num_cols - k < kTileDepth ? task.num_cols - k : kTileDepth);
      stretch.num_tiles = 0;
      for (std::int64_t at = column; at < task.num_outputs && stretch.num_tiles < kTilePanels; at += kPanelWidth, ++stretch.num_tiles) {
        stretch.tiles[stretch.num_tiles] = tile_of<Decoder>(task, at, k, stretch.depth, tiles[stretch.num_tiles]);
      }
      multiply_stretch(task, stretch);
    }
  }
}

}  // namespace octavo::OCTAVO_ISA
