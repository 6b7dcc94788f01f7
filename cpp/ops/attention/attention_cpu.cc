// Tile kernels of the paged attention. Rows are blocked in registers so that a load of K or V serves a whole block; a row's own
// arithmetic does not depend on its block: a score is one fused multiply-add after another over d, a value one after another over
// positions, and masked positions add exact zeros.
#include "cpu/vec_math.h"
#include "ops/attention/attention_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__) || defined(__powerpc64__)
constexpr int kBlockVectors = 4;  // 32 or more vector registers
#else
constexpr int kBlockVectors = 2;
#endif
constexpr int kBlockRows = 6;
constexpr int kCachedPages = 4;  // V of this many pages stays in the first-level cache while all rows of a tile pass over it
constexpr int kNumVectorsPerPage = kPageTokens / kLanes;
constexpr float kNegativeInfinity = -__builtin_inff();

// scores[m][v] = sum over d of query[m][d] * K[d][lane]; keys[v] points at K[0] of a vector's first token.
template <int M, int V>
void score_block(const float* query, const float* const* keys, int head_dim, float* scores) {
  Vec sum[M][V] = {};
  for (int d = 0; d < head_dim; ++d) {
    Vec key[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) key[v] = load(keys[v] + d * kPageTokens);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec q = broadcast(query[m * kQueryStride + d]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[m][v] = fma(q, key[v], sum[m][v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(scores + m * kScoreStride + v * kLanes, sum[m][v]);
  }
}

// out[m][columns] += sum over tokens first..end-1 of weights[m][token] * V[token][columns].
template <int M, int V>
void value_block(const AttentionSegment& segment, int first, int end, int column, const float* weights, float* out,
                 std::int64_t out_stride) {
  Vec sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[m][v] = load(out + m * out_stride + v * kLanes);
  }
  for (int token = first; token < end; ++token) {
    const float* value = segment.pages[token / kPageTokens] + segment.value_offset + token % kPageTokens * segment.value_stride + column;
    Vec row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) row[v] = load(value + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec weight = broadcast(weights[m * kScoreStride + token]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[m][v] = fma(weight, row[v], sum[m][v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + m * out_stride + v * kLanes, sum[m][v]);
  }
}

// Calls block(rows, vectors) with both as compile-time constants, 1 <= rows <= kBlockRows, 1 <= vectors <= kBlockVectors.
template <int N>
struct Constant {
  static constexpr int value = N;
};
template <int M, typename Block>
OCTAVO_VEC void with_vectors(int vectors, const Block& block) {
  switch (vectors) {
    case 1:
      return block(Constant<M>{}, Constant<1>{});
#if defined(__AVX512F__) || defined(__aarch64__) || defined(__powerpc64__)
    case 3:
      return block(Constant<M>{}, Constant<3>{});
    case 4:
      return block(Constant<M>{}, Constant<4>{});
#endif
    default:
      return block(Constant<M>{}, Constant<2>{});
  }
}
template <typename Block>
OCTAVO_VEC void with_constants(int rows, int vectors, const Block& block) {
  switch (rows) {
    case 1:
      return with_vectors<1>(vectors, block);
    case 2:
      return with_vectors<2>(vectors, block);
    case 3:
      return with_vectors<3>(vectors, block);
    case 4:
      return with_vectors<4>(vectors, block);
    case 5:
      return with_vectors<5>(vectors, block);
    default:
      return with_vectors<6>(vectors, block);
  }
}

OCTAVO_VEC int smaller(int a, int b) { return a < b ? a : b; }
OCTAVO_VEC int larger(int a, int b) { return a > b ? a : b; }

void compute_scores(const AttentionSegment& segment) {
  const int end = segment.end_page * kNumVectorsPerPage;
  for (int vector = segment.first_page * kNumVectorsPerPage; vector < end; vector += kBlockVectors) {
    const int vectors = smaller(kBlockVectors, end - vector);
    const float* keys[kBlockVectors];
    for (int v = 0; v < vectors; ++v) {
      keys[v] = segment.pages[(vector + v) / kNumVectorsPerPage] + (vector + v) % kNumVectorsPerPage * kLanes;
    }
    for (int row = 0; row < segment.num_rows; row += kBlockRows) {
      const float* query = segment.query + row * kQueryStride;
      float* scores = segment.scores + row * kScoreStride + vector * kLanes;
      with_constants(smaller(kBlockRows, segment.num_rows - row), vectors,
                     [&](auto m, auto v) { score_block<decltype(m)::value, decltype(v)::value>(query, keys, segment.head_dim, scores); });
    }
  }
}

void cap_scores(float* scores, int begin, int end, float cap) {
  const Vec limit = broadcast(cap);
  for (int token = begin; token < end; token += kLanes) store(scores + token, limit * tanh(load(scores + token) / limit));
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
    softmax_row(scores, begin, end, segment.visible_begin[row], segment.visible_end[row], result.max + row, result.sum + row);
  }
}

void compute_values(const AttentionSegment& segment, const AttentionState& result) {
  const int columns = static_cast<int>(segment.value_stride);
  for (int row = 0; row < segment.num_rows; ++row) std::memset(result.values + row * result.stride, 0, sizeof(float) * columns);
  for (int page = segment.first_page; page < segment.end_page; page += kCachedPages) {
    const int first = page * kPageTokens;
    const int end = smaller((page + kCachedPages) * kPageTokens, segment.end_token);  // never a slot that nobody wrote: 0 * NaN
    for (int column = 0; column < columns; column += kBlockVectors * kLanes) {
      const int vectors = smaller(kBlockVectors, (columns - column) / kLanes);
      for (int row = 0; row < segment.num_rows; row += kBlockRows) {
        const float* weights = segment.scores + row * kScoreStride;
        float* out = result.values + row * result.stride + column;
        with_constants(smaller(kBlockRows, segment.num_rows - row), vectors, [&](auto m, auto v) {
          value_block<decltype(m)::value, decltype(v)::value>(segment, first, end, column, weights, out, result.stride);
        });
      }
    }
  }
}

void segment(const AttentionSegment& segment, const AttentionState& result) {
  compute_scores(segment);
  softmax_rows(segment, result);
  compute_values(segment, result);
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
  static constexpr AttentionKernels kernels{segment, merge, scale, divide};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
