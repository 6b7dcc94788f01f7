// Scores and values of a tile, blocked in registers so that a load (and conversion) of K or V serves several rows. A row's own arithmetic
// does not depend on its block: a score is one fused multiply-add after another over d, a value one after another over positions.
// Include it only from attention_cpu.cc.
#pragma once
#include "ops/attention/attention_kernels.h"
#include "ops/attention/kv_element_cpu.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kBlockRows = 6;
constexpr int kCachedPages = 4;  // V of this many pages stays in the first-level cache while all rows of a tile pass over it
constexpr int kNumVectorsPerPage = kPageTokens / kLanes;

// As many vectors as the registers hold sums for: a fused multiply-add takes four cycles and two start in each, so eight sums at least.
constexpr int block_vectors(int rows) {
#if defined(__AVX512F__) || defined(__aarch64__) || defined(__powerpc64__)
  return rows <= 2 ? 8 : 4;  // 32 or more vector registers
#else
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
#endif
}

OCTAVO_VEC constexpr int smaller(int a, int b) { return a < b ? a : b; }
OCTAVO_VEC constexpr int larger(int a, int b) { return a > b ? a : b; }

constexpr int kMostBlockVectors = block_vectors(1);
constexpr int kLeastBlockVectors = smaller(block_vectors(kBlockRows), kNumVectorsPerPage);

// The vectors that every block of a tile's rows takes next, where `left` are left: a power of two.
OCTAVO_VEC int block_width(int num_rows, int left) {
  int width = block_vectors(smaller(num_rows, kBlockRows));
  while (width > left) width /= 2;
  return width;
}

// Those of a segment's next_pages that are fetched while V of `page` is read: an even share.
struct PagesAhead {
  const unsigned char* const* begin;
  const unsigned char* const* end;

  PagesAhead(const AttentionSegment& segment, int page) {
    const int index = page - segment.first_page, count = segment.end_page - segment.first_page;
    begin = segment.next_pages + index * segment.num_next_pages / count;
    end = segment.next_pages + (index + 1) * segment.num_next_pages / count;
  }
};

// sum[m][v] += factor(m) * vector(v). The fewer of the two wait in registers while the others come one by one.
template <int M, int V, typename Factor, typename Vector>
OCTAVO_VEC void add_products(const Factor& factor, const Vector& vector, Vec (&sum)[M][V]) {
  if constexpr (M < V) {
    Vec factors[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) factors[m] = factor(m);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const Vec x = vector(v);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) sum[m][v] = fma(factors[m], x, sum[m][v]);
    }
  } else {
    Vec vectors[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) vectors[v] = vector(v);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec x = factor(m);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[m][v] = fma(x, vectors[v], sum[m][v]);
    }
  }
}

// scores[m][v] = scale * sum over d of query[m][d] * K[d][lane]; keys[v] points at K[0] of a vector's first token, scales[v] at its scale.
template <typename Element, int M, int V>
void score_block(const float* query, const typename Element::Storage* const* keys, const float* const* scales, int head_dim, bool ahead,
                 float* scores) {
  Vec sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[m][v] = zero();
  }
  for (int d = 0; d < head_dim; ++d) {
    if (ahead) {
#pragma GCC unroll 8
      for (int v = 0; v < V; v += kNumVectorsPerPage) __builtin_prefetch(keys[v] + (d + head_dim) * kPageTokens, 0, 2);
    }
    add_products<M, V>([&](int m) { return broadcast(query[m * kQueryStride + d]); },
                       [&](int v) { return Element::load(keys[v] + d * kPageTokens); }, sum);
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
  constexpr std::int64_t kElementBytes = sizeof(typename Element::Storage);
  for (int token = first; token < end;) {
    const unsigned char* value = segment.pages[token / kPageTokens] + segment.layout.value_offset + column * kElementBytes;
    std::int64_t offset = column * kElementBytes;
    const PagesAhead next(segment, token / kPageTokens);
    for (const int page_end = smaller(token + kPageTokens, end); token < page_end; ++token) {
      if (ahead) {
        for (auto page = next.begin; page < next.end; ++page) {
#pragma GCC unroll 8
          for (int byte = 0; byte < V * kLanes * kElementBytes; byte += 64) __builtin_prefetch(*page + offset + byte, 0, 2);
        }
      }
      add_products<M, V>([&](int m) { return broadcast(weights[m * kScoreStride + token]); },
                         [&](int v) { return Element::load(reinterpret_cast<const typename Element::Storage*>(value) + v * kLanes); }, sum);
      value += segment.layout.value_stride * kElementBytes;
      offset += segment.layout.value_stride * kElementBytes;
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + m * out_stride + v * kLanes, sum[m][v]);
  }
}

// Calls block(rows, vectors) with both as compile-time constants; vectors as block_width gives it for as many rows, or more.
template <int N>
struct Constant {
  static constexpr int value = N;
};
template <int M, int V, typename Block>
OCTAVO_VEC void with_vectors(int vectors, const Block& block) {
  if constexpr (V > kLeastBlockVectors) {
    if (vectors < V) return with_vectors<M, V / 2>(vectors, block);
  }
  block(Constant<M>{}, Constant<V>{});
}
template <typename Block>
OCTAVO_VEC void with_constants(int rows, int vectors, const Block& block) {
  switch (rows) {
    case 1:
      return with_vectors<1, block_vectors(1)>(vectors, block);
    case 2:
      return with_vectors<2, block_vectors(2)>(vectors, block);
    case 3:
      return with_vectors<3, block_vectors(3)>(vectors, block);
    case 4:
      return with_vectors<4, block_vectors(4)>(vectors, block);
    case 5:
      return with_vectors<5, block_vectors(5)>(vectors, block);
    default:
      return with_vectors<6, block_vectors(6)>(vectors, block);
  }
}

template <typename Element>
void compute_scores(const AttentionSegment& segment) {
  const int end = segment.end_page * kNumVectorsPerPage;
  int vectors;
  for (int vector = segment.first_page * kNumVectorsPerPage; vector < end; vector += vectors) {
    vectors = block_width(segment.num_rows, end - vector);
    const typename Element::Storage* keys[kMostBlockVectors];
    const float* scales[kMostBlockVectors];
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
        score_block<Element, decltype(m)::value, decltype(v)::value>(query, keys, scales, segment.layout.head_dim,
                                                                     segment.reads_ahead && row == 0, scores);
      });
    }
  }
}

// Puts V's scales into the softmax weights.
void scale_weights(const AttentionSegment& segment) {
  for (int vector = segment.first_page * kNumVectorsPerPage; vector < segment.end_page * kNumVectorsPerPage; ++vector) {
    const unsigned char* scales = segment.pages[vector / kNumVectorsPerPage] + segment.layout.value_scale_offset;
    const Vec scale = load(reinterpret_cast<const float*>(scales) + vector % kNumVectorsPerPage * kLanes);
    for (int row = 0; row < segment.num_rows; ++row) {
      float* weights = segment.scores + row * kScoreStride + vector * kLanes;
      store(weights, load(weights) * scale);
    }
  }
}

template <typename Element>
void compute_values(const AttentionSegment& segment, const AttentionState& result) {
  const int columns = static_cast<int>(segment.layout.value_cols);
  for (int row = 0; row < segment.num_rows; ++row) std::memset(result.values + row * result.stride, 0, sizeof(float) * columns);
  for (int page = segment.first_page; page < segment.end_page; page += kCachedPages) {
    const int first = page * kPageTokens;
    const int end = smaller((page + kCachedPages) * kPageTokens, segment.end_token);  // never a slot that nobody wrote: 0 * NaN
    int vectors;
    for (int column = 0; column < columns; column += vectors * kLanes) {
      vectors = block_width(segment.num_rows, (columns - column) / kLanes);
      for (int row = 0; row < segment.num_rows; row += kBlockRows) {
        const float* weights = segment.scores + row * kScoreStride;
        float* out = result.values + row * result.stride + column;
        with_constants(smaller(kBlockRows, segment.num_rows - row), vectors, [&](auto m, auto v) {
          value_block<Element, decltype(m)::value, decltype(v)::value>(segment, first, end, column, weights,
                                                                       segment.reads_ahead && row == 0, out, result.stride);
        });
      }
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
