// Host plans of paged attention on a GPU: which block of the grid computes which queries against which keys. Standard C++ only.
//
// A step's sequences are split between two kernels: sequences with few new tokens go to a template in the style of FlashAttention-2
// (arXiv:2307.08691) that packs the heads of a group into the rows of a tile, the others to a Hopper kernel in the style of
// FlashAttention-3 (arXiv:2407.08608), one tile of 128 or 192 queries of one head at a time. The arrays are those that FlashInfer's
// kernels read (arXiv:2501.01005); they are written straight into a pinned buffer and copied once.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "base/tensor_view.h"

namespace octavo {

struct DevicePlanShape {
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int window = 0;          // tokens that a query sees, its own included; 0: all
  int num_processors = 0;  // multiprocessors of the GPU
  int max_num_seqs = 0;
  int max_num_tokens = 0;
  int min_hopper_queries = 0;  // sequences with at least so many new tokens go to the Hopper kernel; 0: none does
  int fixed_chunk = 0;         // tokens, whole pages: every context is cut at its multiples and every tile is of one size; 0: as fits best
  int max_chunks = 1;          // of a context, where fixed_chunk is given
};

// One step as the host knows it: R sequences, the last tokens of whose contexts are new.
struct DevicePlanStep {
  Span<const std::int32_t> query_indptr;  // [R + 1]
  Span<const std::int32_t> context_lens;  // [R]
  int max_blocks = 0;                     // row stride of the block tables
  int num_tokens = 0;                     // padding included: query_indptr[R] <= num_tokens
  bool captured = false;                  // in a graph: offsets, grid and launches depend on num_tokens alone
};

// Offsets count int32 elements from the start of the plan's buffer.
struct Fa2Layout {
  int num_items = 0;   // blocks of the grid, times num_kv_heads; 0: no launch
  int query_tile = 0;  // packed rows (query tokens * heads of a group) of a tile: 16, 64 or 128
  bool split = false;  // contexts are cut into chunks, whose results a second kernel merges
  int num_rows = 0;    // entries of page_indptr, less one
  int first_merged_token = 0;
  int max_merged_tokens = 0;
  std::int64_t page_indptr = 0, output_indptr = 0, item_rows = 0, item_query_tiles = 0, item_kv_chunks = 0, merge_indptr = 0,
               chunk_tokens = 0, num_merged_tokens = 0;
  std::int64_t item_is_valid = -1;  // bytes; -1: every item is
};

struct HopperLayout {
  int num_items = 0;
  std::int64_t work_indptr = 0, query_tiles = 0, query_starts = 0, page_starts = 0, query_lens = 0, kv_lens = 0, heads = 0, rows = 0;
};

struct DevicePlan {
  Fa2Layout fa2;  // launched first: where it merges, it also clears the rows of other sequences
  HopperLayout hopper;
  std::int64_t num_elements = 0;  // of the buffer that are in use
};

// Elements that no plan of this shape exceeds.
std::int64_t device_plan_capacity(const DevicePlanShape& shape);
// Rows of partial results, [num_heads, head_dim] each, that no plan of this shape exceeds.
std::int64_t device_plan_partial_rows(const DevicePlanShape& shape);
// Whether a graph may hold such a step: every sequence is the FA2 template's, and no context is so much longer than the others that the
// fixed launches of a graph would wait for it.
bool can_capture(const DevicePlanShape& shape, const DevicePlanStep& step);

// Buffers that are kept from step to step, so that planning allocates nothing once warm.
class DevicePlanner {
 public:
  explicit DevicePlanner(const DevicePlanShape& shape);
  // Writes the plan of a step into `buffer`, device_plan_capacity() elements. Throws std::invalid_argument when a step has more
  // sequences or tokens than the shape allows, or a sequence without new tokens.
  DevicePlan plan(const DevicePlanStep& step, Span<std::int32_t> buffer);

 private:
  struct PackedRow {  // a sequence as the FA2 template sees it
    std::int64_t num_tiles;
    std::int64_t num_keys;  // that a tile reads
  };
  struct Tile {  // of queries, the same for every head
    int query_tile, query_start, page_start, query_len, kv_len, row;
    std::int64_t cost;
  };
  static PackedRow packed_row(const DevicePlanShape& shape, const DevicePlanStep& step, int row, int query_tile);
  static std::int64_t count_items(const std::vector<PackedRow>& packed, std::int64_t chunk);
  friend bool can_capture(const DevicePlanShape& shape, const DevicePlanStep& step);

  void split_rows(const DevicePlanStep& step);
  void pack_rows(const DevicePlanStep& step, int query_tile);
  std::int64_t shortest_chunk(std::int64_t longest, std::int64_t limit) const;
  std::int64_t choose_chunk(const DevicePlanStep& step, Fa2Layout& fa2);
  void plan_fa2(const DevicePlanStep& step, std::int32_t* buffer, DevicePlan& plan);
  void place_fa2(const DevicePlanStep& step, DevicePlan& plan, std::int64_t num_items) const;
  void write_items(const Fa2Layout& fa2, std::int64_t chunk, std::int32_t* buffer) const;
  void write_outputs(const DevicePlanStep& step, const Fa2Layout& fa2, std::int64_t chunk, std::int32_t* buffer) const;
  void list_tiles(const DevicePlanStep& step);
  void assign_tiles();
  void plan_hopper(const DevicePlanStep& step, std::int32_t* buffer, DevicePlan& plan);

  DevicePlanShape shape_;
  std::vector<int> fa2_rows_, hopper_rows_;
  std::vector<PackedRow> packed_;                    // of fa2_rows_
  std::vector<Tile> tiles_;                          // of one head, dearest first
  std::vector<int> processor_of_;                    // item -> multiprocessor; items run over heads, then tiles
  std::vector<std::pair<std::int64_t, int>> loads_;  // (cost so far, multiprocessor), a heap with the least on top
  std::vector<std::int32_t> next_;                   // where a multiprocessor's next item is written
};

}  // namespace octavo
