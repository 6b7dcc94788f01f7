// Few rows: weights are decoded in registers and used at once, so that each byte of the panel is read from memory once and
// nothing is written back. Speed is that of memory. For linear_cpu.cc alone.
#pragma once
#include "ops/linear/cpu/exceptions_cpu.h"

namespace octavo::OCTAVO_ISA {

constexpr int kPrefetchBytes = 2048;

// As many rows as leave registers for words, scales and mins.
#if defined(__AVX512F__)
constexpr int kDirectRows = 8;
#else
constexpr int kDirectRows = 4;
#endif
// Beyond kDirectRows a panel is gone through twice, the second time in the near cache: still quicker than through a tile, unless
// decoding twice takes too long.
template <typename Decoder>
constexpr int kMaxDirectRows = 2 * kDirectRows;
#if defined(__AVX2__) && !defined(__AVX512F__)
template <>
constexpr int kMaxDirectRows<Bf16CompactDecoder> = kDirectRows;
template <Packing P>
constexpr int kMaxDirectRows<CodeDecoder<P>> = kDirectRows;
#endif

// Up to kLanes * kPanelVecs results of one row.
OCTAVO_VEC void store_columns(float* to, const Vec* values, std::int64_t count) {
  if (count >= kPanelWidth) {
    for (int vec = 0; vec < kPanelVecs; ++vec) store(to + vec * kLanes, values[vec]);
  } else {
    std::memcpy(to, values, static_cast<std::size_t>(count) * sizeof(float));
  }
}

// What store_columns wrote; the columns that are not there are zeros.
OCTAVO_VEC void load_columns(const float* from, Vec* values, std::int64_t count) {
  if (count >= kPanelWidth) {
    for (int vec = 0; vec < kPanelVecs; ++vec) values[vec] = load(from + vec * kLanes);
  } else {
    for (int vec = 0; vec < kPanelVecs; ++vec) values[vec] = zero();
    std::memcpy(values, from, static_cast<std::size_t>(count) * sizeof(float));
  }
}

// Sums of M rows and P panels: independent chains of fma, enough of them to hide its latency.
template <int M, int P>
struct Sums {
  Vec of[P][M][kPanelVecs];
};

template <typename Decoder, int M, int P, int J>
OCTAVO_VEC void add_products(Sums<M, P>& sums, const typename Decoder::Word (*words)[kPanelVecs],
                             const typename Decoder::Scales (*scales)[kPanelVecs], const float* x, std::int64_t x_stride) {
  for (int panel = 0; panel < P; ++panel) {
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const Vec weight = Decoder::template weight<J>(words[panel][vec], scales[panel][vec]);
      for (int row = 0; row < M; ++row) {
        Vec& sum = sums.of[panel][row][vec];
        sum = fma(broadcast(x[row * x_stride + J]), weight, sum);
      }
    }
  }
}

// J = 0 .. kPerWord - 1 in order, as far as `count`, which is a constant after inlining or the odd end of a bf16 row.
template <typename Decoder, int M, int P, int J = 0>
OCTAVO_VEC void add_word(Sums<M, P>& sums, const typename Decoder::Word (*words)[kPanelVecs],
                         const typename Decoder::Scales (*scales)[kPanelVecs], const float* x, std::int64_t x_stride, int count) {
  if constexpr (J < Decoder::kPerWord) {
    if (J >= count) return;
    add_products<Decoder, M, P, J>(sums, words, scales, x, x_stride);
    add_word<Decoder, M, P, J + 1>(sums, words, scales, x, x_stride, count);
  }
}

// How far ahead of a block of P panels, read side by side, to prefetch: hardware loses the track where a panel ends, and the panels
// that come next lie P further on.
template <typename Decoder, int P>
OCTAVO_VEC std::int64_t prefetch_distance(const LinearTask& task, std::int64_t k) {
  constexpr int kBlocks = (kPrefetchBytes + Decoder::kBlockBytes - 1) / Decoder::kBlockBytes;
  const bool in_next_panels = k + kBlocks * Decoder::kBlock >= task.num_cols;
  return kBlocks * Decoder::kBlockBytes + (in_next_panels ? (P - 1) * task.panel_bytes : 0);
}

template <typename Decoder, int M, int P>
OCTAVO_VEC void add_block(Sums<M, P>& sums, const std::uint8_t* block, const LinearTask& task, const float* x, int count,
                          std::int64_t ahead) {
  typename Decoder::Scales scales[P][kPanelVecs];
  for (int panel = 0; panel < P; ++panel) {
    const std::uint8_t* at = block + panel * task.panel_bytes;
    for (int vec = 0; vec < kPanelVecs; ++vec) scales[panel][vec] = Decoder::load_scales(at, vec, task);
  }
  for (int index = 0; index * Decoder::kPerWord < count; ++index) {
    typename Decoder::Word words[P][kPanelVecs];
    for (int panel = 0; panel < P; ++panel) {
      const std::uint8_t* at = block + panel * task.panel_bytes;
      prefetch(at + ahead + index * kShareBytes<Decoder>, kShareBytes<Decoder>);
      for (int vec = 0; vec < kPanelVecs; ++vec) words[panel][vec] = Decoder::load_word(at, index, vec);
    }
    add_word<Decoder, M, P>(sums, words, scales, x + index * Decoder::kPerWord, task.x_stride, count);
  }
}

// A block that has exceptions, the first `count` of its k. It is decoded to memory, where they are put in.
template <typename Decoder, int M, int P>
OCTAVO_VEC void add_patched_block(Sums<M, P>& sums, const std::uint8_t* block, const LinearTask& task, std::int64_t k, int count,
                                  Exceptions* exceptions) {
  float weights[P][Decoder::kBlock * kPanelWidth];
  for (int panel = 0; panel < P; ++panel) {
    decode_tile<Decoder>(block + panel * task.panel_bytes, Decoder::kBlock, task, weights[panel]);
    exceptions[panel] = put_exceptions(exceptions[panel], k, Decoder::kBlock, weights[panel]);
  }
  for (int j = 0; j < count; ++j) {
    for (int panel = 0; panel < P; ++panel) {
      for (int vec = 0; vec < kPanelVecs; ++vec) {
        const Vec weight = load(weights[panel] + j * kPanelWidth + vec * kLanes);
        for (int row = 0; row < M; ++row) {
          Vec& sum = sums.of[panel][row][vec];
          sum = fma(broadcast(task.x[row * task.x_stride + k + j]), weight, sum);
        }
      }
    }
  }
}

// The first k of the block that holds the next exception of P panels; num_cols if there is none.
template <typename Decoder, int P>
OCTAVO_VEC std::int64_t next_exception_block(const Exceptions* exceptions, std::int64_t num_cols) {
  std::int64_t first = num_cols;
  for (int panel = 0; panel < P; ++panel) {
    const Exceptions& left = exceptions[panel];
    if (left.next != left.end && left.next->k < first) first = left.next->k / Decoder::kBlock * Decoder::kBlock;
  }
  return first;
}

// Adds the products of k .. end_k - 1, which begin at `block`.
template <typename Decoder, int M, int P>
OCTAVO_VEC void add_blocks_until(std::int64_t end_k, Sums<M, P>& sums, const std::uint8_t*& block, const LinearTask& task,
                                 std::int64_t& k) {
  for (; k + Decoder::kBlock <= end_k; k += Decoder::kBlock, block += Decoder::kBlockBytes) {
    add_block<Decoder, M, P>(sums, block, task, task.x + k, Decoder::kBlock, prefetch_distance<Decoder, P>(task, k));
  }
}

template <typename Decoder, int M, int P>
static void multiply_direct(const LinearTask& task, std::int64_t column) {
  const std::uint8_t* block = task.panels + column / kPanelWidth * task.panel_bytes;
  Sums<M, P> sums = {};
  std::int64_t k = 0;
  if constexpr (kHasExceptions<Decoder>) {
    Exceptions exceptions[P];
    for (int panel = 0; panel < P; ++panel) exceptions[panel] = exceptions_of(task, column / kPanelWidth + panel);
    for (std::int64_t stop; (stop = next_exception_block<Decoder, P>(exceptions, task.num_cols)) < task.num_cols;) {
      add_blocks_until<Decoder, M, P>(stop, sums, block, task, k);
      const int count = static_cast<int>(task.num_cols - k < Decoder::kBlock ? task.num_cols - k : Decoder::kBlock);
      add_patched_block<Decoder, M, P>(sums, block, task, k, count, exceptions);
      k += count;
      block += Decoder::kBlockBytes;
    }
  }
  add_blocks_until<Decoder, M, P>(task.num_cols, sums, block, task, k);
  if (k < task.num_cols) add_block<Decoder, M, P>(sums, block, task, task.x + k, static_cast<int>(task.num_cols - k), 0);
  for (int panel = 0; panel < P; ++panel) {
    const std::int64_t first = column + panel * kPanelWidth;
    for (int row = 0; row < M; ++row) store_columns(task.y + row * task.y_stride + first, sums.of[panel][row], task.num_outputs - first);
  }
}

// Two rows at most: two panels side by side make up for the few chains of one.
template <typename Decoder, int M>
static void multiply_panel_pairs(const LinearTask& task) {
  std::int64_t column = 0;
  for (; column + kPanelWidth < task.num_outputs; column += 2 * kPanelWidth) multiply_direct<Decoder, M, 2>(task, column);
  if (column < task.num_outputs) multiply_direct<Decoder, M, 1>(task, column);
}

template <typename Decoder, int M = kDirectRows>
static void multiply_panel(const LinearTask& task, std::int64_t column) {
  if constexpr (M > 2) {
    if (task.num_rows < M) return multiply_panel<Decoder, M - 1>(task, column);
  }
  multiply_direct<Decoder, M, 1>(task, column);
}

// Up to 2 * kDirectRows rows.
template <typename Decoder>
static void compute_direct(const LinearTask& task) {
  if (task.num_rows == 1) return multiply_panel_pairs<Decoder, 1>(task);
  if (task.num_rows == 2) return multiply_panel_pairs<Decoder, 2>(task);
  LinearTask first = task, second = task;
  first.num_rows = task.num_rows <= kDirectRows ? task.num_rows : (task.num_rows + 1) / 2;
  second.num_rows = task.num_rows - first.num_rows;
  second.x += first.num_rows * task.x_stride;
  second.y += first.num_rows * task.y_stride;
  for (std::int64_t column = 0; column < task.num_outputs; column += kPanelWidth) {
    multiply_panel<Decoder>(first, column);
    if (second.num_rows) multiply_panel<Decoder>(second, column);
  }
}

}  // namespace octavo::OCTAVO_ISA
