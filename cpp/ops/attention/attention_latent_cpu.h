// Scores of a tile over latent pages, whose tokens are rows: a score is a dot product, kLanes partial sums over d that are added up at
// its end. A row's own arithmetic does not depend on its block. Include it only from attention_cpu.cc.
#pragma once
#include "ops/attention/attention_blocks_cpu.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kDotTokens = 4;  // a load of q serves as many
#if defined(__AVX512F__) || defined(__aarch64__) || defined(__powerpc64__)
constexpr int kDotRows = 4;  // 32 or more vector registers
#else
constexpr int kDotRows = 2;
#endif

template <typename Element, int M>
void dot_block(const float* query, const typename Element::Storage* keys, std::int64_t stride, const float* scales, float* scores) {
  Vec sum[M][kDotTokens];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int t = 0; t < kDotTokens; ++t) sum[m][t] = zero();
  }
  for (std::int64_t d = 0; d < stride; d += kLanes) {
    Vec q[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) q[m] = load(query + m * kQueryStride + d);
#pragma GCC unroll 8
    for (int t = 0; t < kDotTokens; ++t) {
      const Vec key = Element::load(keys + t * stride + d);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) sum[m][t] = fma(q[m], key, sum[m][t]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int t = 0; t < kDotTokens; ++t) {
      scores[m * kScoreStride + t] = Element::kScaled ? sum_of(sum[m][t]) * scales[t] : sum_of(sum[m][t]);
    }
  }
}

template <typename Element>
void dot_rows(int rows, const float* query, const typename Element::Storage* keys, std::int64_t stride, const float* scales,
              float* scores) {
  switch (rows) {
    case 1:
      return dot_block<Element, 1>(query, keys, stride, scales, scores);
    case 2:
      return dot_block<Element, 2>(query, keys, stride, scales, scores);
    case 3:
      return dot_block<Element, 3>(query, keys, stride, scales, scores);
    default:
      return dot_block<Element, 4>(query, keys, stride, scales, scores);
  }
}

template <typename Element>
void compute_latent_scores(const AttentionSegment& segment) {
  const std::int64_t stride = segment.layout.value_stride;
  for (int token = segment.first_page * kPageTokens; token < segment.end_page * kPageTokens; token += kDotTokens) {
    const unsigned char* page = segment.pages[token / kPageTokens];
    const auto* keys = reinterpret_cast<const typename Element::Storage*>(page) + token % kPageTokens * stride;
    const float* scales = reinterpret_cast<const float*>(page + segment.layout.scale_offset) + token % kPageTokens;
    for (int row = 0; row < segment.num_rows; row += kDotRows) {
      dot_rows<Element>(smaller(kDotRows, segment.num_rows - row), segment.query + row * kQueryStride, keys, stride, scales,
                        segment.scores + row * kScoreStride + token);
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
