#include "ops/attention/device_plan.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/error.h"

namespace octavo {
namespace {

constexpr int kPage = 16;
constexpr int kMinChunk = 128;  // tokens; a shorter chunk costs more to merge than it saves
constexpr int kBlocksPerProcessor = 2;
constexpr int kFixedTile = 64;        // packed rows, where chunks are fixed
constexpr int kMaxCapturedTiles = 4;  // query tiles of a sequence in a graph

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t padded(std::int64_t elements) { return ceil_div(elements, 4) * 4; }  // arrays start at 16 bytes

int group_of(const DevicePlanShape& shape) { return shape.num_heads / shape.num_kv_heads; }

// Items that fill the GPU once: the grid has num_kv_heads blocks for each.
std::int64_t full_grid(const DevicePlanShape& shape) {
  return std::max<std::int64_t>(1, kBlocksPerProcessor * shape.num_processors / shape.num_kv_heads);
}

int query_tile_of(const DevicePlanShape& shape, std::int64_t packed_rows) {
  if (shape.fixed_chunk > 0) return kFixedTile;
  if (packed_rows > 64 && shape.head_dim < 256) return 128;
  return packed_rows > 16 ? 64 : 16;
}

int hopper_tile_of(const DevicePlanShape& shape) { return shape.head_dim == 64 ? 192 : 128; }

struct Rows {
  const DevicePlanStep& step;

  int query_start(int row) const { return step.query_indptr[row]; }
  int query_len(int row) const { return step.query_indptr[row + 1] - step.query_indptr[row]; }
  int context_len(int row) const { return step.context_lens[row]; }
};

// Takes the place of arrays one after another.
class Cursor {
 public:
  std::int64_t take(std::int64_t elements) { return std::exchange(next_, next_ + padded(elements)); }
  std::int64_t end() const { return next_; }
  explicit Cursor(std::int64_t begin) : next_(begin) {}

 private:
  std::int64_t next_;
};

// Items of a graph of so many tokens: each may be a sequence of its own.
std::int64_t captured_tiles(const DevicePlanShape& shape, int num_tokens) {
  const int group = group_of(shape);
  return num_tokens * ceil_div(group, query_tile_of(shape, group));
}

// A graph's launches split contexts exactly when its tokens alone leave more than a quarter of the processors without a block: joining the
// chunks is a launch of its own.
bool captured_split(const DevicePlanShape& shape, int num_tokens) {
  return shape.fixed_chunk > 0 || 4 * captured_tiles(shape, num_tokens) * shape.num_kv_heads < 3 * std::int64_t{shape.num_processors};
}

std::int64_t captured_items(const DevicePlanShape& shape, int num_tokens) {
  if (shape.fixed_chunk > 0) return captured_tiles(shape, num_tokens) * shape.max_chunks;
  return captured_split(shape, num_tokens) ? full_grid(shape) : captured_tiles(shape, num_tokens);
}

std::int64_t max_fa2_items(const DevicePlanShape& shape) {
  const std::int64_t tiles = ceil_div(std::int64_t{shape.max_num_tokens} * group_of(shape), 64) + 2 * shape.max_num_seqs + 1;
  const std::int64_t fixed = shape.fixed_chunk > 0 ? tiles * shape.max_chunks : 0;
  return std::max({full_grid(shape), tiles + tiles / 4, captured_items(shape, shape.max_num_tokens), fixed});
}

std::int64_t max_hopper_items(const DevicePlanShape& shape) {
  if (shape.min_hopper_queries == 0) return 0;
  const std::int64_t rows = std::min<std::int64_t>(shape.max_num_seqs, shape.max_num_tokens / shape.min_hopper_queries);
  return (shape.max_num_tokens / hopper_tile_of(shape) + rows) * shape.num_heads;
}

}  // namespace

std::int64_t device_plan_capacity(const DevicePlanShape& shape) {
  const std::int64_t rows = padded(shape.max_num_seqs + 1), items = padded(max_fa2_items(shape));
  const std::int64_t fa2 = 2 * rows + 3 * items + padded(shape.max_num_tokens + 1) + 2 * padded(1) + padded(ceil_div(items, 4));
  return fa2 + padded(shape.num_processors + 1) + 7 * padded(max_hopper_items(shape));
}

std::int64_t device_plan_partial_rows(const DevicePlanShape& shape) {
  if (shape.fixed_chunk > 0) return std::int64_t{shape.max_num_tokens} * shape.max_chunks;
  const std::int64_t short_queries = shape.max_num_seqs + shape.max_num_seqs / 4 + full_grid(shape);
  return std::max(full_grid(shape) * ceil_div(128, group_of(shape)), short_queries);
}

bool can_capture(const DevicePlanShape& shape, const DevicePlanStep& step) {
  const Rows rows{step};
  const int group = group_of(shape), query_tile = query_tile_of(shape, group);
  std::int64_t longest = 0, total = 0, num_tiles = 0;
  for (std::int64_t row = 0; row < step.context_lens.size; ++row) {
    if (shape.min_hopper_queries > 0 && rows.query_len(row) >= shape.min_hopper_queries) return false;
    const DevicePlanner::PackedRow packed = DevicePlanner::packed_row(shape, step, row, query_tile);
    if (packed.num_tiles > std::max<std::int64_t>(kMaxCapturedTiles, ceil_div(group, query_tile))) return false;
    longest = std::max(longest, packed.num_keys);
    total += packed.num_tiles * packed.num_keys;
    num_tiles += packed.num_tiles;
  }
  if (num_tiles > captured_tiles(shape, step.num_tokens)) return false;
  if (captured_split(shape, step.num_tokens)) return true;
  // Tokens that one block reads while nobody minds the wait; with few blocks each reads faster.
  const std::int64_t is_short = captured_tiles(shape, step.num_tokens) < full_grid(shape) ? 2048 : 1024;
  return longest <= std::max(is_short, 4 * total / full_grid(shape));
}

DevicePlanner::DevicePlanner(const DevicePlanShape& shape) : shape_(shape) {
  require(shape.num_kv_heads > 0 && shape.num_heads > 0 && shape.num_heads % shape.num_kv_heads == 0, "attention plan: ", shape.num_heads,
          " heads are no multiple of ", shape.num_kv_heads, " key/value heads");
  require(shape.num_processors > 0 && shape.max_num_seqs > 0 && shape.max_num_tokens > 0 && shape.min_hopper_queries >= 0,
          "attention plan: the GPU and the limits of a step must be given");
}

DevicePlan DevicePlanner::plan(const DevicePlanStep& step, Span<std::int32_t> buffer) {
  require(step.context_lens.size <= shape_.max_num_seqs && step.num_tokens <= shape_.max_num_tokens,
          "attention plan: ", step.context_lens.size, " sequences and ", step.num_tokens, " tokens; at most ", shape_.max_num_seqs, " and ",
          shape_.max_num_tokens);
  require(buffer.size >= device_plan_capacity(shape_), "attention plan: the buffer has ", buffer.size, " elements of ",
          device_plan_capacity(shape_));
  split_rows(step);
  DevicePlan plan;
  plan_fa2(step, buffer.data, plan);
  if (!hopper_rows_.empty()) plan_hopper(step, buffer.data, plan);
  return plan;
}

void DevicePlanner::split_rows(const DevicePlanStep& step) {
  const Rows rows{step};
  fa2_rows_.clear();
  hopper_rows_.clear();
  for (int row = 0; row < static_cast<int>(step.context_lens.size); ++row) {
    const int query_len = rows.query_len(row);
    require(query_len >= 1 && query_len <= rows.context_len(row), "attention plan: sequence ", row, " has ", query_len,
            " new tokens in a context of ", rows.context_len(row));
    const bool is_long = shape_.min_hopper_queries > 0 && query_len >= shape_.min_hopper_queries && !step.captured;
    (is_long ? hopper_rows_ : fa2_rows_).push_back(row);
  }
}

DevicePlanner::PackedRow DevicePlanner::packed_row(const DevicePlanShape& shape, const DevicePlanStep& step, int row, int query_tile) {
  const Rows rows{step};
  const int group = group_of(shape);
  const std::int64_t context_len = rows.context_len(row);
  PackedRow packed{ceil_div(std::int64_t{rows.query_len(row)} * group, query_tile), context_len};
  // The kernel counts a sequence's chunks by this formula too.
  if (shape.window > 0) packed.num_keys = std::min<std::int64_t>(context_len, shape.window - 1 + query_tile);
  return packed;
}

void DevicePlanner::pack_rows(const DevicePlanStep& step, int query_tile) {
  packed_.clear();
  for (int row : fa2_rows_) packed_.push_back(packed_row(shape_, step, row, query_tile));
}

std::int64_t DevicePlanner::count_items(const std::vector<PackedRow>& packed, std::int64_t chunk) {
  std::int64_t num_items = 0;
  for (const PackedRow& row : packed) num_items += row.num_tiles * ceil_div(row.num_keys, chunk);
  return num_items;
}

// The shortest chunk, whole pages, that makes at most `limit` items of the sequences.
std::int64_t DevicePlanner::shortest_chunk(std::int64_t longest, std::int64_t limit) const {
  std::int64_t low = kMinChunk / kPage, high = std::max(low, ceil_div(longest, kPage));
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (count_items(packed_, middle * kPage) > limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low * kPage;
}

// Decides whether contexts are split, and into chunks of how many keys. Where tiles alone fill the GPU, only decoding sequences are cut,
// and only when one is much longer than the others.
std::int64_t DevicePlanner::choose_chunk(const DevicePlanStep& step, Fa2Layout& fa2) {
  if (shape_.fixed_chunk > 0) {
    fa2.split = true;
    return shape_.fixed_chunk;
  }
  std::int64_t num_tiles = 0, longest = 1;
  for (const PackedRow& row : packed_) {
    num_tiles += row.num_tiles;
    longest = std::max(longest, row.num_keys);
  }
  const bool decodes =
      std::all_of(fa2_rows_.begin(), fa2_rows_.end(), [&](int row) { return Rows{step}.query_len(row) == 1; }) && !fa2_rows_.empty();
  const std::int64_t grid = full_grid(shape_);
  const bool fills = num_tiles >= grid;
  const std::int64_t chunk = shortest_chunk(longest, fills ? num_tiles + num_tiles / 4 : grid);
  if (step.captured) {
    fa2.split = captured_split(shape_, step.num_tokens);
  } else {
    fa2.split = fills ? decodes && 4 * chunk <= 3 * longest : chunk < longest;
  }
  return fa2.split ? chunk : ceil_div(longest, kPage) * kPage;
}

// Offsets of the arrays: of what the step needs, or in a graph of what any step of so many tokens needs.
void DevicePlanner::place_fa2(const DevicePlanStep& step, DevicePlan& plan, std::int64_t num_items) const {
  Fa2Layout& fa2 = plan.fa2;
  const auto num_seqs = static_cast<int>(step.context_lens.size);
  fa2.num_rows = step.captured ? std::min(shape_.max_num_seqs, step.num_tokens) : num_seqs;
  fa2.num_items = static_cast<int>(num_items);
  if (step.captured) fa2.num_items = static_cast<int>(captured_items(shape_, step.num_tokens));
  if (fa2.split) {
    fa2.first_merged_token = step.captured ? 0 : step.query_indptr[fa2_rows_.front()];
    fa2.max_merged_tokens = step.captured ? step.num_tokens : step.query_indptr[fa2_rows_.back() + 1] - fa2.first_merged_token;
  }
  Cursor cursor(plan.num_elements);
  fa2.page_indptr = cursor.take(fa2.num_rows + 1);
  fa2.output_indptr = cursor.take(fa2.num_rows + 1);
  fa2.item_rows = cursor.take(fa2.num_items);
  fa2.item_query_tiles = cursor.take(fa2.num_items);
  fa2.item_kv_chunks = cursor.take(fa2.num_items);
  fa2.chunk_tokens = cursor.take(1);
  fa2.num_merged_tokens = cursor.take(1);
  if (fa2.split) fa2.merge_indptr = cursor.take(fa2.max_merged_tokens + 1);
  if (step.captured) fa2.item_is_valid = cursor.take(ceil_div(fa2.num_items, 4));
  plan.num_elements = cursor.end();
}

void DevicePlanner::write_items(const Fa2Layout& fa2, std::int64_t chunk, std::int32_t* buffer) const {
  std::int32_t* rows = buffer + fa2.item_rows;
  std::int32_t* query_tiles = buffer + fa2.item_query_tiles;
  std::int32_t* kv_chunks = buffer + fa2.item_kv_chunks;
  std::int64_t item = 0;
  for (std::size_t i = 0; i < fa2_rows_.size(); ++i) {
    const std::int64_t num_chunks = fa2.split ? ceil_div(packed_[i].num_keys, chunk) : 1;
    for (std::int64_t tile = 0; tile < packed_[i].num_tiles; ++tile) {
      for (std::int64_t part = 0; part < num_chunks; ++part, ++item) {
        rows[item] = fa2_rows_[i];
        query_tiles[item] = static_cast<std::int32_t>(tile);
        kv_chunks[item] = static_cast<std::int32_t>(part);
      }
    }
  }
  if (fa2.item_is_valid < 0) return;
  auto* is_valid = reinterpret_cast<bool*>(buffer + fa2.item_is_valid);
  std::fill_n(is_valid, fa2.num_items, false);
  std::fill_n(is_valid, item, true);
}

// Where results go: with chunks into partial results, query by query, chunk by chunk; without, straight to the query's row of y.
void DevicePlanner::write_outputs(const DevicePlanStep& step, const Fa2Layout& fa2, std::int64_t chunk, std::int32_t* buffer) const {
  const Rows rows{step};
  std::int32_t* output_indptr = buffer + fa2.output_indptr;
  std::copy_n(step.query_indptr.data, step.context_lens.size + 1, output_indptr);
  buffer[fa2.chunk_tokens] = static_cast<std::int32_t>(chunk);
  buffer[fa2.num_merged_tokens] = fa2.max_merged_tokens;
  if (!fa2.split) return;
  if (step.captured) buffer[fa2.num_merged_tokens] = step.query_indptr[step.context_lens.size];
  std::int32_t* merge_indptr = buffer + fa2.merge_indptr;
  std::int32_t num_partial = 0, token = fa2.first_merged_token;
  for (std::size_t i = 0; i < fa2_rows_.size(); ++i) {
    const int row = fa2_rows_[i];
    const auto num_chunks = static_cast<std::int32_t>(ceil_div(packed_[i].num_keys, chunk));
    output_indptr[row] = num_partial;
    for (; token < rows.query_start(row); ++token) merge_indptr[token - fa2.first_merged_token] = num_partial;
    for (int query = 0; query < rows.query_len(row); ++query, ++token, num_partial += num_chunks) {
      merge_indptr[token - fa2.first_merged_token] = num_partial;
    }
  }
  for (; token <= fa2.first_merged_token + fa2.max_merged_tokens; ++token) merge_indptr[token - fa2.first_merged_token] = num_partial;
}

void DevicePlanner::plan_fa2(const DevicePlanStep& step, std::int32_t* buffer, DevicePlan& plan) {
  if (fa2_rows_.empty() && !step.captured) return;
  const int group = group_of(shape_);
  std::int64_t num_queries = 0;
  for (int row : fa2_rows_) num_queries += Rows{step}.query_len(row);
  const std::int64_t packed_rows = step.captured ? group : num_queries * group / static_cast<std::int64_t>(fa2_rows_.size());
  plan.fa2.query_tile = query_tile_of(shape_, packed_rows);
  pack_rows(step, plan.fa2.query_tile);
  const std::int64_t chunk = choose_chunk(step, plan.fa2);
  place_fa2(step, plan, count_items(packed_, chunk));
  write_items(plan.fa2, chunk, buffer);
  write_outputs(step, plan.fa2, chunk, buffer);
  std::int32_t* page_indptr = buffer + plan.fa2.page_indptr;
  const auto num_seqs = static_cast<int>(step.context_lens.size);
  for (int row = 0; row <= plan.fa2.num_rows; ++row) page_indptr[row] = std::min(row, num_seqs) * step.max_blocks;
}

// The tiles of one head. With a window each is a sequence of its own, whose keys begin with the first page that its first query sees.
void DevicePlanner::list_tiles(const DevicePlanStep& step) {
  const Rows rows{step};
  const int query_tile = hopper_tile_of(shape_);
  tiles_.clear();
  for (int row : hopper_rows_) {
    const int query_len = rows.query_len(row), context_len = rows.context_len(row), first_page = row * step.max_blocks;
    for (int begin = 0; begin < query_len; begin += query_tile) {
      const int length = std::min(query_tile, query_len - begin);
      const int seen = context_len - query_len + begin + length;  // keys that the tile's last query sees, were there no window
      Tile tile{begin / query_tile, rows.query_start(row), first_page, query_len, context_len, row, seen};
      if (shape_.window > 0) {
        const int skipped = std::max(0, seen - length - shape_.window + 1) / kPage;
        tile = {0, rows.query_start(row) + begin, first_page + skipped, length, seen - skipped * kPage, row, seen - skipped * kPage};
      }
      tile.cost += 2 * query_tile;
      tiles_.push_back(tile);
    }
  }
  std::stable_sort(tiles_.begin(), tiles_.end(), [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
}

// Each tile of each head to the multiprocessor that has the least to do.
void DevicePlanner::assign_tiles() {
  loads_.clear();
  for (int processor = 0; processor < shape_.num_processors; ++processor) loads_.emplace_back(0, processor);
  processor_of_.resize(tiles_.size() * static_cast<std::size_t>(shape_.num_heads));
  std::size_t item = 0;
  for (int head = 0; head < shape_.num_heads; ++head) {
    for (const Tile& tile : tiles_) {
      std::pop_heap(loads_.begin(), loads_.end(), std::greater<>());
      processor_of_[item++] = loads_.back().second;
      loads_.back().first += tile.cost;
      std::push_heap(loads_.begin(), loads_.end(), std::greater<>());
    }
  }
}

void DevicePlanner::plan_hopper(const DevicePlanStep& step, std::int32_t* buffer, DevicePlan& plan) {
  list_tiles(step);
  assign_tiles();
  HopperLayout& hopper = plan.hopper;
  hopper.num_items = static_cast<int>(processor_of_.size());
  Cursor cursor(plan.num_elements);
  hopper.work_indptr = cursor.take(shape_.num_processors + 1);
  for (std::int64_t* array :
       {&hopper.query_tiles, &hopper.query_starts, &hopper.page_starts, &hopper.query_lens, &hopper.kv_lens, &hopper.heads, &hopper.rows}) {
    *array = cursor.take(hopper.num_items);
  }
  plan.num_elements = cursor.end();

  std::int32_t* work_indptr = buffer + hopper.work_indptr;
  std::fill_n(work_indptr, shape_.num_processors + 1, 0);
  for (int processor : processor_of_) ++work_indptr[processor + 1];
  for (int processor = 0; processor < shape_.num_processors; ++processor) work_indptr[processor + 1] += work_indptr[processor];
  next_.assign(work_indptr, work_indptr + shape_.num_processors);
  std::size_t item = 0;
  for (int head = 0; head < shape_.num_heads; ++head) {
    for (const Tile& tile : tiles_) {
      const std::int32_t at = next_[static_cast<std::size_t>(processor_of_[item++])]++;
      buffer[hopper.query_tiles + at] = tile.query_tile;
      buffer[hopper.query_starts + at] = tile.query_start;
      buffer[hopper.page_starts + at] = tile.page_start;
      buffer[hopper.query_lens + at] = tile.query_len;
      buffer[hopper.kv_lens + at] = tile.kv_len;
      buffer[hopper.heads + at] = head;
      buffer[hopper.rows + at] = tile.row;
    }
  }
}

}  // namespace octavo
