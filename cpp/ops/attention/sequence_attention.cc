#include "ops/attention/sequence_attention.h"

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

void check(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const SequenceAttention& attention, Matrix<float> y) {
  require_same_shape("attention", q, y);
  require_same_shape("attention", k, v);
  require(k.rows == q.rows, "attention: k has ", k.rows, " rows, q ", q.rows);
  require(attention.num_kv_heads >= 1 && attention.num_heads % attention.num_kv_heads == 0, "attention: ", attention.num_heads,
          " heads are not a multiple of ", attention.num_kv_heads, " key/value heads");
  require(q.cols % attention.num_heads == 0 && q.cols / attention.num_heads * attention.num_kv_heads == k.cols, "attention: q has ", q.cols,
          " columns, k ", k.cols);
  const auto& indptr = attention.query_indptr;
  require(indptr.size >= 1 && indptr[0] == 0 && indptr[indptr.size - 1] == q.rows, "attention: query_indptr must go from 0 to ", q.rows);
}

// One sequence with one key/value head, computed by one thread: its keys and values are put into pages, which its tiles then read.
class HeadOfSequence {
 public:
  HeadOfSequence(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const SequenceAttention& attention, Matrix<float> y,
                 const KVPageLayout& layout, std::uint8_t* scratch, std::int64_t sequence, int kv_head)
      : q_(q), k_(k), v_(v), attention_(attention), y_(y), layout_(layout), kv_head_(kv_head) {
    first_ = attention.query_indptr[sequence];
    num_tokens_ = attention.query_indptr[sequence + 1] - first_;
    group_ = attention.num_heads / attention.num_kv_heads;
    // Sequences before this one fill at most first_ / 16 + sequence pages.
    pages_ = scratch + ((first_ / kPageTokens + sequence) * attention.num_kv_heads + kv_head * num_pages()) * layout.num_bytes;
  }

  void run() const {
    pack();
    const std::int64_t num_rows = num_tokens_ * group_;
    for (std::int64_t row = 0; row < num_rows; row += kTileRows) {
      run_tile(row, static_cast<int>(std::min<std::int64_t>(kTileRows, num_rows - row)));
    }
  }

 private:
  std::int64_t num_pages() const { return (num_tokens_ + kPageTokens - 1) / kPageTokens; }
  std::uint8_t* page(std::int64_t index) const { return pages_ + index * layout_.num_bytes; }
  std::int64_t column(std::int64_t row) const { return (kv_head_ * group_ + row % group_) * std::int64_t{layout_.head_dim}; }
  std::int64_t distance() const { return attention_.max_distance ? *attention_.max_distance : num_tokens_; }

  void pack() const {
    const std::int64_t dim = layout_.head_dim, first_column = kv_head_ * dim, padding = layout_.value_stride - dim;
    for (std::int64_t token = 0; token < num_tokens_; ++token) {
      std::uint8_t* to = page(token / kPageTokens);
      const std::int64_t offset = token % kPageTokens;
      const float* key = k_.row(first_ + token) + first_column;
      float* keys = reinterpret_cast<float*>(to) + offset;
      for (std::int64_t d = 0; d < dim; ++d) keys[d * kPageTokens] = key[d];
      float* value = reinterpret_cast<float*>(to + layout_.value_offset) + offset * layout_.value_stride;
      std::memcpy(value, v_.row(first_ + token) + first_column, static_cast<std::size_t>(dim) * sizeof(float));
      std::memset(value + dim, 0, static_cast<std::size_t>(padding) * sizeof(float));
    }
  }

  void run_tile(std::int64_t first_row, int num_rows) const {
    const AttentionKernels& kernels = attention_kernels(cpu::active_isa());
    Tile tile;
    State total, next;
    for (int row = 0; row < num_rows; ++row) {
      const std::int64_t at = first_row + row;
      kernels.scale(q_.row(first_ + at / group_) + column(at), attention_.scale, tile.query + row * kQueryStride, layout_.head_dim);
    }
    const std::int64_t begin = std::max<std::int64_t>(0, first_row / group_ - distance());
    const std::int64_t end = std::min(num_tokens_, (first_row + num_rows - 1) / group_ + distance() + 1);
    const std::int64_t first_segment = begin / kSegmentTokens, last_segment = (end - 1) / kSegmentTokens;
    run_segment(first_segment, first_row, num_rows, tile, total.view());
    for (std::int64_t segment = first_segment + 1; segment <= last_segment; ++segment) {
      run_segment(segment, first_row, num_rows, tile, next.view());
      kernels.merge(total.view(), next.view(), num_rows, layout_.head_dim);
    }
    for (int row = 0; row < num_rows; ++row) {
      const std::int64_t at = first_row + row;
      kernels.divide(total.values + row * kQueryStride, total.sum[row], y_.row(first_ + at / group_) + column(at), layout_.head_dim);
    }
  }

  void run_segment(std::int64_t segment, std::int64_t first_row, int num_rows, Tile& tile, const AttentionState& result) const {
    const std::int64_t start = segment * kSegmentTokens;
    int visible_begin[kTileRows], visible_end[kTileRows], begin = kSegmentTokens, end = 0;
    for (int row = 0; row < num_rows; ++row) {
      const std::int64_t token = (first_row + row) / group_;
      const std::int64_t seen = std::min(num_tokens_, token + distance() + 1);
      visible_begin[row] = static_cast<int>(std::clamp<std::int64_t>(token - distance() - start, 0, kSegmentTokens));
      visible_end[row] = static_cast<int>(std::clamp<std::int64_t>(seen - start, 0, kSegmentTokens));
      begin = std::min(begin, visible_begin[row]);
      end = std::max(end, visible_end[row]);
    }
    const int first_page = begin / kPageTokens, end_page = (end + kPageTokens - 1) / kPageTokens;
    const unsigned char* pages[kSegmentPages];
    for (int index = first_page; index < end_page; ++index) pages[index] = page(segment * kSegmentPages + index);
    attention_kernels(cpu::active_isa())
        .segment[kDtype]({tile.query, tile.scores, pages, nullptr, first_page, end_page, 0, false, end, visible_begin, visible_end,
                          num_rows, layout_, 0.0f, nullptr, nullptr},
                         result);
  }

  Matrix<const float> q_, k_, v_;
  const SequenceAttention& attention_;
  Matrix<float> y_;
  const KVPageLayout& layout_;
  int kv_head_;
  std::int64_t first_, num_tokens_;
  int group_;
  std::uint8_t* pages_;
};

}  // namespace

std::int64_t sequence_attention_bytes(std::int64_t max_tokens, std::int64_t max_sequences, int num_kv_heads, int head_dim) {
  return (max_tokens / kPageTokens + max_sequences) * num_kv_heads * KVPageLayout(head_dim, KVDtype::fp32).num_bytes;
}

void sequence_attention(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const SequenceAttention& attention,
                        Matrix<float> y, std::uint8_t* scratch, cpu::ThreadPool& pool) {
  check(q, k, v, attention, y);
  const KVPageLayout layout(static_cast<int>(q.cols / attention.num_heads), KVDtype::fp32);
  require(layout.head_dim % 8 == 0 && layout.head_dim <= kMaxHeadDim, "attention: heads of ", layout.head_dim,
          " elements; a multiple of 8, at most ", kMaxHeadDim, ", is needed");
  const int heads = attention.num_kv_heads;
  pool.run((attention.query_indptr.size - 1) * heads, [&](std::int64_t task) {
    const auto kv_head = static_cast<int>(task % heads);
    HeadOfSequence(q, k, v, attention, y, layout, scratch, task / heads, kv_head).run();
  });
}

}  // namespace octavo
