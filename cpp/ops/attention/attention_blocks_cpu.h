// Scores and values of a tile, blocked in registers so that a load (and conversion) of K or V serves several rows. A row's own arithmetic
// does not depend on its block: a score is one fused multiply-add after another over d, a value one after another over positions.
// Include it only from attention_cpu.cc.
#pragma once
#include "ops/attention/attention_kernels.h"
#include "ops/attention/kv_element_cpu.h"

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

OCTAVO_VEC int smaller(int a, int b) { return a < b ? a : b; }
OCTAVO_VEC int larger(int a, int b) { return a > b ? a : b; }

// A page is too short for the processor to foresee what comes next. While K is read, the lines of the same pages' V are fetched into
// the second-level cache, and with V those of the K that the thread reads next. A chunk of many rows finds them there: tiles before it read
// them.
OCTAVO_VEC bool reads_ahead(const AttentionSegment& segment) { return segment.num_rows <= kBlockRows; }

// scores[m][v] = scale * sum over d of query[m][d] * K[d][lane]; keys[v] points at K[0] of a vector's first token, scales[v] at its scale.
template <typename Element, int M, int V>
void score_block(const float* query, const typename Element::Storage* const* keys, const float* const* scales, int head_dim, bool ahead,
                 float* scores) {
  Vec sum[M][V] = {};
  for (int d = 0; d < head_dim; ++d) {
    Vec key[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      key[v] = Element::load(keys[v] + d * kPageTokens);
      if (ahead && v % kNumVectorsPerPage == 0) __builtin_prefetch(keys[v] + (d + head_dim) * kPageTokens, 0, 2);
    }
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
    for (int v = 0; v < V; ++v) {
      store(scores + m * kScoreStride + v * kLanes, Element::kScaled ? sum[m][v] * load(scales[v]) : sum[m][v]);
    }
  }
}

// out[m][columns] += sum over tokens first..end-1 of weights[m][token] * V[token][columns].
template <typename Element, int M, int V>
void value_block(const AttentionSegment& segment, int first, int end, int column, const float* weights, bool ahead, float* out,
                 std::int64_t out_stride) {
  Vec sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[m][v] = load(out + m * out_stride + v * kLanes);
  }
  for (int token = first; token < end;) {
    const unsigned char* page = segment.pages[token / kPageTokens];
    const auto* value = reinterpret_cast<const typename Element::Storage*>(page + segment.layout.value_offset) + column;
    const std::int64_t to_next = segment.pages[token / kPageTokens + kSegmentPages] - (page + segment.layout.value_offset);
    for (const int page_end = smaller(token + kPageTokens, end); token < page_end; ++token, value += segment.layout.value_stride) {
      Vec row[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        row[v] = Element::load(value + v * kLanes);
        if (ahead && v * kLanes * sizeof(typename Element::Storage) % 64 == 0) {
          __builtin_prefetch(reinterpret_cast<const unsigned char*>(value + v * kLanes) + to_next, 0, 2);
        }
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const Vec weight = broadcast(weights[m * kScoreStride + token]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[m][v] = fma(weight, row[v], sum[m][v]);
      }
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

template <typename Element>
void compute_scores(const AttentionSegment& segment) {
  const int end = segment.end_page * kNumVectorsPerPage;
  for (int vector = segment.first_page * kNumVectorsPerPage; vector < end; vector += kBlockVectors) {
    const int vectors = smaller(kBlockVectors, end - vector);
    const typename Element::Storage* keys[kBlockVectors];
    const float* scales[kBlockVectors];
    for (int v = 0; v < vectors; ++v) {
      const unsigned char* page = segment.pages[(vector + v) / kNumVectorsPerPage];
      const int lane = (vector + v) % kNumVectorsPerPage * kLanes;
      keys[v] = reinterpret_cast<const typename Element::Storage*>(page) + lane;
      scales[v] = reinterpret_cast<const float*>(page + segment.layout.scale_offset) + lane;
    }
    for (int row = 0; row < segment.num_rows; row += kBlockRows) {
      const float* query = segment.query + row * kQueryStride;
      float* scores = segment.scores + row * kScoreStride + vector * kLanes;
      with_constants(smaller(kBlockRows, segment.num_rows - row), vectors, [&](auto m, auto v) {
        score_block<Element, decltype(m)::value, decltype(v)::value>(query, keys, scales, segment.layout.head_dim, reads_ahead(segment),
                                                                     scores);
      });
    }
  }
}

// Puts V's scales into the softmax weights.
void scale_weights(const AttentionSegment& segment) {
  for (int vector = segment.first_page * kNumVectorsPerPage; vector < segment.end_page * kNumVectorsPerPage; ++vector) {
    const unsigned char* scales = segment.pages[vector / kNumVectorsPerPage] + segment.layout.scale_offset;
    const Vec scale = load(reinterpret_cast<const float*>(scales) + kPageTokens + vector % kNumVectorsPerPage * kLanes);
    for (int row = 0; row < segment.num_rows; ++row) {
      float* weights = segment.scores + row * kScoreStride + vector * kLanes;
      store(weights, load(weights) * scale);
    }
  }
}

template <typename Element>
void compute_values(const AttentionSegment& segment, const AttentionState& result) {
  const int columns = static_cast<int>(segment.layout.value_stride);
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
          value_block<Element, decltype(m)::value, decltype(v)::value>(segment, first, end, column, weights, reads_ahead(segment), out,
                                                                       result.stride);
        });
      }
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
