// Where things lie in a page of the KV cache: 16 tokens of one layer and one key/value head.
#pragma once
#include <cstdint>

#include "ops/attention/kv_dtype.h"

namespace octavo {

constexpr int kPageTokens = 16;
constexpr int kMaxHeadDim = 256;

// K [D][16], V [16][Dv], Dv = D rounded up to 16; for int8 then the scales of K [16] and of V [16] in float32. Sixteen tokens of one
// key dimension are neighbours, so the scores of a page are vector lanes, and so are its scales; a value is a row.
struct KVPageLayout {
  int head_dim;               // D
  std::int64_t value_stride;  // Dv, in elements
  std::int64_t value_offset;  // in bytes from the page's beginning, as is
  std::int64_t scale_offset;  // this one
  std::int64_t num_bytes;     // a multiple of 64

  KVPageLayout(int dim, KVDtype dtype)
      : head_dim(dim),
        value_stride((dim + kPageTokens - 1) / kPageTokens * kPageTokens),
        value_offset(kPageTokens * dim * element_bytes(dtype)),
        scale_offset(value_offset + kPageTokens * value_stride * element_bytes(dtype)),
        num_bytes(scale_offset + (dtype == KVDtype::int8 ? 2 * kPageTokens * 4 : 0)) {}
};

}  // namespace octavo
