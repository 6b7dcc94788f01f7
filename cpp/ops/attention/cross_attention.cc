#include "ops/attention/cross_attention.h"

#include <algorithm>
#include <cstring>

#include "ops/attention/attention_kernels.h"

namespace octavo {
namespace {

constexpr auto kDtype = static_cast<int>(KVDtype::fp32);

struct alignas(64) Tile {
  float query[kTileRows * kQueryStride];
  float scores[kTileRows * kScoreStride];
};

struct alignas(64) State {
  float values[kTileRows * kQueryStride];
  float max[kTileRows];
  float sum[kTileRows];

  AttentionState view() { return {values, max, sum, kQueryStride}; }
};

std::int64_t num_pages(std::int64_t num_positions) { return (num_positions + kPageTokens - 1) / kPageTokens; }

// One position of one head, put into its page.
void store_position(const float* key, const float* value, const KVPageLayout& layout, std::uint8_t* page, std::int64_t offset) {
  float* keys = reinterpret_cast<float*>(page) + offset;
  for (std::int64_t d = 0; d < layout.head_dim; ++d) keys[d * kPageTokens] = key[d];
  float* values = reinterpret_cast<float*>(page + layout.value_offset) + offset * layout.value_stride;
  std::memcpy(values, value, static_cast<std::size_t>(layout.head_dim) * sizeof(float));
}

// Up to 16 tokens of a sequence with one head, computed by one thread.
class CrossTile {
 public:
  CrossTile(Matrix<const float> q, const CrossAttention& attention, const KVPageLayout& layout, const float* state, int head)
      : q_(q),
        attention_(attention),
        layout_(layout),
        pages_(reinterpret_cast<const std::uint8_t*>(state) + head * num_pages(attention.num_positions) * layout.num_bytes),
        column_(std::int64_t{head} * layout.head_dim) {}

  void run(std::int64_t first_row, int num_rows, Matrix<float> y) const {
    const AttentionKernels& kernels = attention_kernels(cpu::active_isa());
    Tile tile;
    State total, next;
    for (int row = 0; row < num_rows; ++row) {
      kernels.scale(q_.row(first_row + row) + column_, attention_.scale, tile.query + row * kQueryStride, layout_.head_dim);
    }
    run_segment(0, num_rows, tile, total.view());
    for (std::int64_t start = kSegmentTokens; start < attention_.num_positions; start += kSegmentTokens) {
      run_segment(start, num_rows, tile, next.view());
      kernels.merge(total.view(), next.view(), num_rows, layout_.head_dim);
    }
    for (int row = 0; row < num_rows; ++row) {
      kernels.divide(total.values + row * kQueryStride, total.sum[row], y.row(first_row + row) + column_, layout_.head_dim);
    }
  }

 private:
  void run_segment(std::int64_t start, int num_rows, Tile& tile, const AttentionState& result) const {
    const int end = static_cast<int>(std::min<std::int64_t>(attention_.num_positions - start, kSegmentTokens));
    int visible_begin[kTileRows] = {}, visible_end[kTileRows];
    std::fill_n(visible_end, kTileRows, end);
    const int end_page = (end + kPageTokens - 1) / kPageTokens;
    const unsigned char* pages[kSegmentPages];
    for (int index = 0; index < end_page; ++index) pages[index] = pages_ + (start / kPageTokens + index) * layout_.num_bytes;
    attention_kernels(cpu::active_isa())
        .segment[kDtype]({tile.query, tile.scores, pages, nullptr, 0, end_page, 0, false, end, visible_begin, visible_end, num_rows,
                          layout_, 0.0f, nullptr, nullptr},
                         result);
  }

  Matrix<const float> q_;
  const CrossAttention& attention_;
  const KVPageLayout& layout_;
  const std::uint8_t* pages_;
  std::int64_t column_;
};

KVPageLayout layout_of(std::int64_t cols, int num_heads) {
  require(num_heads >= 1 && cols % num_heads == 0, "cross_attention: ", cols, " columns are not ", num_heads, " heads");
  const KVPageLayout layout(static_cast<int>(cols / num_heads), KVDtype::fp32);
  require(layout.head_dim % 8 == 0 && layout.head_dim <= kMaxHeadDim, "cross_attention: heads of ", layout.head_dim,
          " elements; a multiple of 8, at most ", kMaxHeadDim, ", is needed");
  return layout;
}

}  // namespace

std::int64_t cross_state_elements(int num_heads, int head_dim, std::int64_t num_positions) {
  const std::int64_t bytes = KVPageLayout(head_dim, KVDtype::fp32).num_bytes;
  return num_heads * num_pages(num_positions) * bytes / static_cast<std::int64_t>(sizeof(float));
}

void store_cross(Matrix<const float> k, Matrix<const float> v, int num_heads, Span<float> state) {
  require_same_shape("cross_attention", k, v);
  const KVPageLayout layout = layout_of(k.cols, num_heads);
  require(state.size == cross_state_elements(num_heads, layout.head_dim, k.rows), "cross_attention: ", k.rows, " positions of ", num_heads,
          " heads do not fit a state of ", state.size, " elements");
  std::memset(state.data, 0, static_cast<std::size_t>(state.size) * sizeof(float));
  for (int head = 0; head < num_heads; ++head) {
    std::uint8_t* pages = reinterpret_cast<std::uint8_t*>(state.data) + head * num_pages(k.rows) * layout.num_bytes;
    const std::int64_t column = std::int64_t{head} * layout.head_dim;
    for (std::int64_t position = 0; position < k.rows; ++position) {
      store_position(k.row(position) + column, v.row(position) + column, layout, pages + position / kPageTokens * layout.num_bytes,
                     position % kPageTokens);
    }
  }
}

void cross_attention(Matrix<const float> q, const CrossAttention& attention, Matrix<float> states, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("cross_attention", q, y);
  const KVPageLayout layout = layout_of(q.cols, attention.num_heads);
  const auto& indptr = attention.query_indptr;
  require(indptr.size >= 1 && indptr[0] == 0 && indptr[indptr.size - 1] == q.rows, "cross_attention: query_indptr must go from 0 to ",
          q.rows);
  require(attention.rows.size == indptr.size - 1, "cross_attention: rows need ", indptr.size - 1, " entries");
  require(
      attention.num_positions >= 1 && states.cols == cross_state_elements(attention.num_heads, layout.head_dim, attention.num_positions),
      "cross_attention: states of ", states.cols, " elements do not hold ", attention.num_positions, " positions");
  pool.run(attention.rows.size * attention.num_heads, [&](std::int64_t task) {
    const std::int64_t sequence = task / attention.num_heads;
    const std::int64_t row = attention.rows[sequence];
    require(row >= 0 && row < states.rows, "cross_attention: row ", row, " of ", states.rows);
    const CrossTile tile(q, attention, layout, states.row(row), static_cast<int>(task % attention.num_heads));
    const std::int64_t end = indptr[sequence + 1];
    for (std::int64_t first = indptr[sequence]; first < end; first += kTileRows) {
      tile.run(first, static_cast<int>(std::min<std::int64_t>(kTileRows, end - first)), y);
    }
  });
}

}  // namespace octavo
