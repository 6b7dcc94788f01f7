// Where things lie in a page of the KV cache: 16 tokens of one layer and one key/value head.
#pragma once
#include <cstdint>

#include "ops/attention/kv_dtype.h"

namespace octavo {

constexpr int kPageTokens = 16;
constexpr int kMaxHeadDim = 256;

//   0              K [D][16]            16 tokens of one dimension are neighbours, so a page's scores are the lanes of a vector
//   value_offset   V [16][Dv]           a token's value is a row; Dv = D rounded up to 16
//   scale_offset   K's [16], V's [16]   float32 scales of the tokens; int8 only
//   num_bytes      the next page
struct KVPageLayout {
  int head_dim;               // D
  std::int64_t value_stride;  // Dv, in elements
  std::int64_t value_offset;  // in bytes from the beginning of the page
  std::int64_t scale_offset;  // in bytes from the beginning of the page
  std::int64_t num_bytes;     // a multiple of 64

  KVPageLayout(int dim, KVDtype dtype)
      : head_dim(dim),
        value_stride((dim + kPageTokens - 1) / kPageTokens * kPageTokens),
        value_offset(kPageTokens * dim * element_bytes(dtype)),
        scale_offset(value_offset + kPageTokens * value_stride * element_bytes(dtype)),
        num_bytes(scale_offset + (dtype == KVDtype::int8 ? 2 * kPageTokens * 4 : 0)) {}
};

}  // namespace octavo
