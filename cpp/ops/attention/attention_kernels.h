// What attention.cc asks of the kernels of one instruction set. A *tile* is up to 16 query rows (token x head of one group) that
// share a key/value head; a *segment* is 128 positions, counted from position 0.
#pragma once
#include <cstdint>

#include "cpu/dispatch.h"
#include "ops/attention/kv_page.h"

namespace octavo {

constexpr int kTileRows = 16;
constexpr int kSegmentTokens = 128;
constexpr int kSegmentPages = kSegmentTokens / kPageTokens;
constexpr std::int64_t kQueryStride = kMaxLatentDim + 16;  // not a power of two: rows must not fall on one cache set
constexpr std::int64_t kScoreStride = kSegmentTokens + 16;
constexpr std::int64_t kPartialSlots = 256;

// Softmax numerators of a tile over some positions: row i stands for values[i] / sum[i], scaled by e^max[i].
struct AttentionState {
  float* values;  // [kTileRows, stride]
  float* max;     // [kTileRows]; -inf: the row saw no position
  float* sum;     // [kTileRows]
  std::int64_t stride;
};

constexpr std::int64_t partial_elements(std::int64_t value_cols) { return kTileRows * (value_cols + 2); }

struct AttentionSegment {
  const float* query;                      // [num_rows, kQueryStride], scaled; of latent pages zeros up to a multiple of 16
  float* scores;                           // scratch [kTileRows, kScoreStride]
  const unsigned char* const* pages;       // [kSegmentPages]: first_page..end_page-1 are read
  const unsigned char* const* next_pages;  // [num_next_pages] those that the thread probably reads after them
  int first_page, end_page, num_next_pages;
  // A page is too short for the processor to foresee what comes next. So while K is read, V of the same pages is fetched, and with V the
  // K of next_pages. Not where many rows read a page: tiles before have fetched it.
  bool reads_ahead;
  int end_token;             // the last position that a row sees, plus one, within the segment
  const int* visible_begin;  // [num_rows]: each row sees positions begin..end-1 of the segment; none when begin >= end
  const int* visible_end;
  int num_rows;
  const KVPageLayout& layout;
  float softcap;  // 0: none
  // Null, or [num_rows]: a token that lies d positions before the row's own gets -slope * d; the row's own is positions[row] of the
  // segment.
  const float* slopes;
  const float* positions;
};

struct AttentionKernels {
  void (*segment[kNumKVDtypes])(const AttentionSegment& segment, const AttentionState& result);         // by KVDtype
  void (*latent_segment[kNumKVDtypes])(const AttentionSegment& segment, const AttentionState& result);  // of latent pages
  // state := state followed by next; a row that saw nothing in next stays as it is, bit by bit.
  void (*merge)(const AttentionState& state, const AttentionState& next, int num_rows, int head_dim);
  void (*scale)(const float* x, float scale, float* y, int count);
  void (*divide)(const float* x, float divisor, float* y, int count);
};

OCTAVO_DECLARE_ISA_TABLE(AttentionKernels, attention_kernels)

}  // namespace octavo
