#include "ops/attention/attention.h"

#include <algorithm>
#include <cmath>

#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_plan.h"

namespace octavo {
namespace {

void check(Matrix<const float> q, const KVCache& cache, int layer, const PagedAttention& attention, Matrix<float> y) {
  const std::int64_t num_requests = attention.context_lens.size;
  require_same_shape("paged_attention", q, y);
  require(layer >= 0 && layer < cache.num_layers(), "paged_attention: layer ", layer, " of ", cache.num_layers());
  require(q.cols == std::int64_t{attention.num_heads} * cache.layout().value_dim, "paged_attention: q has ", q.cols, " columns, expected ",
          attention.num_heads, " heads of ", cache.layout().value_dim);
  const Matrix<const float>& rope = attention.q_rope;
  const std::int64_t rope_dim = cache.head_dim() - cache.layout().value_dim;
  require(rope_dim == 0 || (rope.rows == q.rows && rope.cols == attention.num_heads * rope_dim), "paged_attention: q_rope is [", rope.rows,
          ", ", rope.cols, "], expected [", q.rows, ", ", attention.num_heads, " heads of ", rope_dim, "]");
  require(!attention.chunk || *attention.chunk >= 1, "paged_attention: chunk must be at least 1");
  require(!attention.softcap || *attention.softcap > 0.0f, "paged_attention: softcap must be greater than 0");
  require(attention.query_indptr[0] == 0 && attention.query_indptr[num_requests] == q.rows,
          "paged_attention: query_indptr must go from 0 to ", q.rows);
}

struct Call {
  Matrix<const float> q;
  const KVCache& cache;
  int layer;
  const PagedAttention& attention;
  Matrix<float> y;
  const AttentionKernels& kernels;
  int group;  // heads per key/value head
};

// A tile of a request with one key/value head: rows are (token, head of the group) pairs, tokens first.
struct Unit {
  const Call& call;
  const RequestPlan& plan;
  int kv_head;
  std::int64_t first_row;  // within the request
  int num_rows;

  // Tiles run last to first: a later one sees more, and long tasks should start early.
  Unit(const Call& call_, const RequestPlan& plan_, std::int64_t index)
      : call(call_), plan(plan_), kv_head(static_cast<int>(index / plan_.num_tiles)) {
    const std::int64_t tile = plan.num_tiles - 1 - index % plan.num_tiles;
    first_row = tile * kTileRows;
    num_rows = static_cast<int>(std::min<std::int64_t>(kTileRows, plan.num_rows - first_row));
  }
  std::int64_t position(int row) const { return plan.first_position + (first_row + row) / call.group; }
  std::int64_t first_seen(int row) const {
    const PagedAttention& attention = call.attention;
    const std::int64_t of_window = attention.window ? std::max<std::int64_t>(0, position(row) - *attention.window + 1) : 0;
    return attention.chunk ? std::max(of_window, position(row) / *attention.chunk * *attention.chunk) : of_window;
  }
  std::int64_t token(int row) const { return plan.first_row + (first_row + row) / call.group; }
  std::int64_t column(int row) const { return head(row) * call.cache.layout().value_dim; }
  std::int64_t head(int row) const { return kv_head * call.group + (first_row + row) % call.group; }
  float slope(int row) const { return call.attention.alibi_slopes[head(row)]; }
  const float* query(int row) const { return call.q.row(token(row)) + column(row); }
  float* output(int row) const { return call.y.row(token(row)) + column(row); }
};

struct alignas(64) TileScratch {
  float query[kTileRows * kQueryStride];
  float scores[kTileRows * kScoreStride];
};

struct alignas(64) StateScratch {
  float values[kTileRows * kQueryStride];
  float max[kTileRows];
  float sum[kTileRows];

  AttentionState state() { return {values, max, sum, kQueryStride}; }
};

void load_query(const Unit& unit, TileScratch& scratch) {
  const auto scale = unit.call.kernels.scale;
  const float factor = unit.call.attention.scale;
  const KVPageLayout& layout = unit.call.cache.layout();
  const int rope_dim = layout.head_dim - layout.value_dim;
  for (int row = 0; row < unit.num_rows; ++row) {
    float* query = scratch.query + row * kQueryStride;
    scale(unit.query(row), factor, query, layout.value_dim);
    if (!layout.is_latent) continue;
    scale(unit.call.attention.q_rope.row(unit.token(row)) + unit.head(row) * rope_dim, factor, query + layout.value_dim, rope_dim);
    std::fill(query + layout.head_dim, query + layout.value_stride, 0.0f);
  }
}

void write_output(const Unit& unit, const AttentionState& state) {
  const float* sinks = unit.call.attention.sinks;
  for (int row = 0; row < unit.num_rows; ++row) {
    const float sum = sinks ? state.sum[row] + std::exp(sinks[unit.head(row)] - state.max[row]) : state.sum[row];
    unit.call.kernels.divide(state.values + row * state.stride, sum, unit.output(row), unit.call.cache.layout().value_dim);
  }
}

const unsigned char* page_at(const Call& call, std::int64_t request, int kv_head, std::int64_t index) {
  const std::int64_t pages_per_block = call.cache.block_size() / kPageTokens;
  const std::int32_t block = call.attention.block_tables.row(request)[index / pages_per_block];
  return call.cache.page(call.layer, block * pages_per_block + index % pages_per_block, kv_head);
}

// Writes the pages that the unit's thread probably reads after `segment` and returns their number: those of the next segment, or the
// first of the next unit, which has the next key/value head or the next request.
int next_pages(const Unit& unit, std::int64_t segment, const unsigned char** pages) {
  const auto& context_lens = unit.call.attention.context_lens;
  std::int64_t request = unit.plan.request, first = (segment + 1) * kSegmentPages;
  int kv_head = unit.kv_head;
  if (first * kPageTokens >= context_lens[request]) {
    if (++kv_head == unit.call.cache.num_kv_heads()) kv_head = 0, ++request;
    first = kv_head > 0 ? unit.plan.first_segment * kSegmentPages : 0;
    if (request == context_lens.size) return 0;
  }
  const std::int64_t num_pages = (context_lens[request] + kPageTokens - 1) / kPageTokens;
  const auto count = static_cast<int>(std::clamp<std::int64_t>(num_pages - first, 0, kSegmentPages));
  for (int index = 0; index < count; ++index) pages[index] = page_at(unit.call, request, kv_head, first + index);
  return count;
}

// The unit's softmax over one segment; a segment that no row sees leaves max at -inf.
void compute_segment(const Unit& unit, std::int64_t segment, TileScratch& scratch, const AttentionState& result) {
  const KVCache& cache = unit.call.cache;
  const std::int64_t start = segment * kSegmentTokens;
  int visible_begin[kTileRows], visible_end[kTileRows];
  float slopes[kTileRows], positions[kTileRows];
  const bool is_biased = unit.call.attention.alibi_slopes != nullptr;
  int begin = kSegmentTokens, end = 0;
  for (int row = 0; row < unit.num_rows; ++row) {
    visible_begin[row] = static_cast<int>(std::clamp<std::int64_t>(unit.first_seen(row) - start, 0, kSegmentTokens));
    visible_end[row] = static_cast<int>(std::clamp<std::int64_t>(unit.position(row) + 1 - start, 0, kSegmentTokens));
    begin = std::min(begin, visible_begin[row]);
    end = std::max(end, visible_end[row]);
    if (is_biased) {
      slopes[row] = unit.slope(row);
      positions[row] = static_cast<float>(unit.position(row) - start);
    }
  }
  if (begin >= end) {
    std::fill_n(result.max, unit.num_rows, -INFINITY);
    return;
  }
  const unsigned char *pages[kSegmentPages], *next[kSegmentPages];
  const int first_page = begin / kPageTokens, end_page = (end + kPageTokens - 1) / kPageTokens;
  for (int page = first_page; page < end_page; ++page) {
    pages[page] = page_at(unit.call, unit.plan.request, unit.kv_head, segment * kSegmentPages + page);
  }
  const bool reads_ahead = unit.plan.num_tiles == 1;
  const int num_next = reads_ahead ? next_pages(unit, segment, next) : 0;
  const AttentionKernels& kernels = unit.call.kernels;
  (cache.layout().is_latent ? kernels.latent_segment : kernels.segment)[static_cast<int>(cache.dtype())](
      {scratch.query, scratch.scores, pages, next, first_page, end_page, num_next, reads_ahead, end, visible_begin, visible_end,
       unit.num_rows, cache.layout(), unit.call.attention.softcap.value_or(0.0f), is_biased ? slopes : nullptr, positions},
      result);
}

void run_whole(const Unit& unit) {
  TileScratch tile;
  StateScratch total, next;
  load_query(unit, tile);
  const std::int64_t first = unit.first_seen(0) / kSegmentTokens;
  const std::int64_t last = unit.position(unit.num_rows - 1) / kSegmentTokens;
  compute_segment(unit, first, tile, total.state());
  for (std::int64_t segment = first + 1; segment <= last; ++segment) {
    compute_segment(unit, segment, tile, next.state());
    unit.call.kernels.merge(total.state(), next.state(), unit.num_rows, unit.call.cache.layout().value_dim);
  }
  write_output(unit, total.state());
}

// Split units, in waves of as many segments as the cache's scratch has slots for. The first slots carry the state of a unit that a
// wave leaves unfinished into the next wave, by turns: units of a wave are folded at once, and one may leave what another takes up.
class SplitRun {
 public:
  SplitRun(const Call& call, const TaskList& tasks) : call_(call), tasks_(tasks) {}

  void run(cpu::ThreadPool& pool) {
    constexpr std::int64_t kWaveTasks = kPartialSlots - kNumCarrySlots;
    for (wave_begin_ = 0; wave_begin_ < tasks_.num_tasks(); wave_begin_ = wave_end_) {
      wave_end_ = std::min(tasks_.num_tasks(), wave_begin_ + kWaveTasks);
      pool.run(wave_end_ - wave_begin_, [&](std::int64_t index) { compute(wave_begin_ + index); });
      fold_wave(pool);
      std::swap(carry_in_, carry_out_);
    }
  }

 private:
  AttentionState slot(std::int64_t index) const {
    const std::int64_t stride = call_.cache.layout().value_cols;
    float* values = call_.cache.scratch() + index * partial_elements(stride);
    return {values, values + kTileRows * stride, values + kTileRows * (stride + 1), stride};
  }
  AttentionState slot_of(std::int64_t task) const { return slot(task - wave_begin_ + kNumCarrySlots); }

  void compute(std::int64_t task) const {
    const RequestPlan& plan = tasks_.request_of(task);
    const Unit unit(call_, plan, (task - plan.first_task) / plan.num_segments);
    TileScratch tile;
    load_query(unit, tile);
    compute_segment(unit, plan.first_segment + (task - plan.first_task) % plan.num_segments, tile, slot_of(task));
  }

  void fold_wave(cpu::ThreadPool& pool) const {
    std::int64_t firsts[kPartialSlots];
    std::int64_t num_units = 0;
    for (std::int64_t task = wave_begin_; task < wave_end_; task = std::min(unit_end(task), wave_end_)) firsts[num_units++] = task;
    pool.run(num_units, [&](std::int64_t index) { fold_unit(firsts[index]); });
  }

  std::int64_t unit_begin(std::int64_t task) const {
    const RequestPlan& plan = tasks_.request_of(task);
    return task - (task - plan.first_task) % plan.num_segments;
  }
  std::int64_t unit_end(std::int64_t task) const { return unit_begin(task) + tasks_.request_of(task).num_segments; }

  // Merges the wave's segments of the unit that `task` is the wave's first of.
  void fold_unit(std::int64_t task) const {
    const RequestPlan& plan = tasks_.request_of(task);
    const Unit unit(call_, plan, (task - plan.first_task) / plan.num_segments);
    const bool begins = task == unit_begin(task);
    const std::int64_t end = unit_end(task);
    const AttentionState total = begins ? slot_of(task) : slot(carry_in_);
    for (std::int64_t next = begins ? task + 1 : task; next < std::min(end, wave_end_); ++next) {
      call_.kernels.merge(total, slot_of(next), unit.num_rows, call_.cache.layout().value_dim);
    }
    if (end <= wave_end_) {
      write_output(unit, total);
    } else {
      std::copy_n(total.values, partial_elements(total.stride), slot(carry_out_).values);
    }
  }

  static constexpr std::int64_t kNumCarrySlots = 2;

  const Call& call_;
  const TaskList& tasks_;
  std::int64_t wave_begin_ = 0, wave_end_ = 0;
  std::int64_t carry_in_ = 0, carry_out_ = 1;
};

}  // namespace

void paged_attention(Matrix<const float> q, const KVCache& cache, int layer, const PagedAttention& attention, const AttentionPlan& plan,
                     Matrix<float> y, cpu::ThreadPool& pool) {
  check(q, cache, layer, attention, y);
  const Call call{q, cache, layer, attention, y, attention_kernels(cpu::active_isa()), attention.num_heads / cache.num_kv_heads()};
  SplitRun(call, plan.split()).run(pool);
  pool.run(plan.whole().num_tasks(), [&](std::int64_t task) {
    const RequestPlan& of_task = plan.whole().request_of(task);
    run_whole(Unit(call, of_task, task - of_task.first_task));
  });
}

void paged_attention(Matrix<const float> q, const KVCache& cache, int layer, const PagedAttention& attention, Matrix<float> y,
                     cpu::ThreadPool& pool) {
  AttentionPlan plan;
  plan.prepare(attention, cache, pool.num_threads());
  paged_attention(q, cache, layer, attention, plan, y, pool);
}

}  // namespace octavo
