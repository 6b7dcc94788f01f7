// Tile kernels of the paged attention: a softmax over one segment, and the merging of two. Masked positions add exact zeros.
#include "ops/attention/attention_blocks_cpu.h"
#include "ops/attention/attention_latent_cpu.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr float kNegativeInfinity = -kInfinity;

void cap_scores(float* scores, int begin, int end, float cap) {
  const Vec limit = broadcast(cap);
  for (int token = begin; token < end; token += kLanes) store(scores + token, limit * tanh(load(scores + token) / limit));
}

struct alignas(64) SegmentTokens {
  float values[kSegmentTokens];
  constexpr SegmentTokens() : values() {
    for (int token = 0; token < kSegmentTokens; ++token) values[token] = static_cast<float>(token);
  }
};
constexpr SegmentTokens kSegmentTokenNumbers;

// scores[token] -= slope * (position - token); both numbers are whole, so their difference is exact.
void add_linear_biases(float* scores, int begin, int end, float slope, float position) {
  for (int token = begin; token < end; token += kLanes) {
    const Vec ahead = load(kSegmentTokenNumbers.values + token) - broadcast(position);
    store(scores + token, fma(ahead, broadcast(slope), load(scores + token)));
  }
}

// Scores begin..end-1 of a row become e^(score - max), zero where the row does not see. Lanes are absolute positions, so the order
// of the sum is the row's own.
void softmax_row(float* scores, int begin, int end, int visible_begin, int visible_end, float* max_out, float* sum_out) {
  for (int token = begin; token < smaller(visible_begin, end); ++token) scores[token] = kNegativeInfinity;
  for (int token = larger(visible_end, begin); token < end; ++token) scores[token] = kNegativeInfinity;
  Vec best = broadcast(kNegativeInfinity);
  for (int token = begin; token < end; token += kLanes) best = max(best, load(scores + token));
  const float row_max = max_of(best);
  const bool sees_nothing = visible_begin >= visible_end;
  const Vec shift = broadcast(sees_nothing ? 0.0f : row_max);  // -inf - -inf would be NaN
  Vec total = zero();
  for (int token = begin; token < end; token += kLanes) {
    const Vec weight = exp(load(scores + token) - shift);
    store(scores + token, weight);
    total = total + weight;
  }
  *max_out = sees_nothing ? kNegativeInfinity : row_max;
  *sum_out = sum_of(total);
}

void softmax_rows(const AttentionSegment& segment, const AttentionState& result) {
  const int begin = segment.first_page * kPageTokens;
  const int end = segment.end_page * kPageTokens;
  for (int row = 0; row < segment.num_rows; ++row) {
    float* scores = segment.scores + row * kScoreStride;
    if (segment.softcap > 0.0f) cap_scores(scores, begin, end, segment.softcap);
    if (segment.slopes) add_linear_biases(scores, begin, end, segment.slopes[row], segment.positions[row]);
    softmax_row(scores, begin, end, segment.visible_begin[row], segment.visible_end[row], result.max + row, result.sum + row);
  }
}

template <typename Element, bool latent>
void segment(const AttentionSegment& segment, const AttentionState& result) {
  if constexpr (latent) {
    compute_latent_scores<Element>(segment);
  } else {
    compute_scores<Element>(segment);
  }
  softmax_rows(segment, result);
  if (Element::kScaled) scale_weights(segment);
  compute_values<Element>(segment, result);
}

void merge_row(float* values, const float* next, int count, float keep, float add) {
  for (int column = 0; column < count; column += kLanes) {
    const Vec kept = load(values + column) * keep;
    store(values + column, fma(load(next + column), broadcast(add), kept));
  }
}

void merge(const AttentionState& state, const AttentionState& next, int num_rows, int head_dim) {
  static_assert(kTileRows % kLanes == 0, "factors are computed for whole vectors of rows");
  float keep[kTileRows], add[kTileRows];
  for (int row = 0; row < num_rows; row += kLanes) {  // lanes past num_rows hold nothing that is used
    const Vec before = load(state.max + row), after = load(next.max + row), top = max(before, after);
    store(keep + row, exp(before - top));
    store(add + row, exp(after - top));
  }
  const int columns = (head_dim + kPageTokens - 1) / kPageTokens * kPageTokens;
  for (int row = 0; row < num_rows; ++row) {
    if (next.max[row] == kNegativeInfinity) continue;
    float* values = state.values + row * state.stride;
    const float* others = next.values + row * next.stride;
    if (state.max[row] == kNegativeInfinity) {
      std::memcpy(values, others, sizeof(float) * columns);
      state.sum[row] = next.sum[row];
      state.max[row] = next.max[row];
      continue;
    }
    merge_row(values, others, columns, keep[row], add[row]);
    state.sum[row] = state.sum[row] * keep[row] + next.sum[row] * add[row];
    state.max[row] = next.max[row] > state.max[row] ? next.max[row] : state.max[row];
  }
}

void scale(const float* x, float factor, float* y, int count) {
  for (int i = 0; i < count; ++i) y[i] = x[i] * factor;
}

void divide(const float* x, float divisor, float* y, int count) {
  for (int i = 0; i < count; ++i) y[i] = x[i] / divisor;
}

}  // namespace

const AttentionKernels& attention_kernels() {
  static constexpr AttentionKernels kernels{
      {segment<Fp32Element, false>, segment<Bf16Element, false>, segment<Fp16Element, false>, segment<Int8Element, false>},
      {segment<Fp32Element, true>, segment<Bf16Element, true>, segment<Fp16Element, true>, segment<Int8Element, true>},
      merge,
      scale,
      divide};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
