// Where things lie in a page of the KV cache: 16 tokens of one layer and one key/value head.
#pragma once
#include <cstdint>

#include "ops/attention/kv_dtype.h"

namespace octavo {

constexpr int kPageTokens = 16;
constexpr int kMaxHeadDim = 256;
constexpr int kMaxLatentDim = 640;  // of a token, its rotated part included

//   0              K [D][16]            16 tokens of one dimension are neighbours, so a page's scores are the lanes of a vector
//   value_offset   V [16][Dv]           a token's value is a row; Dv = D rounded up to 16
//   scale_offset   K's [16], V's [16]   float32 scales of the tokens; int8 only
//   num_bytes      the next page
//
// A latent page holds one vector of D elements per token, which is its key and, in its first L elements, its value too (DeepSeek-V2,
// arXiv:2405.04434):
//
//   0              [16][Ds]             a token's vector is a row; Ds = D rounded up to 16, the rest zeros
//   scale_offset   [16]                 float32 scales of the tokens; int8 only
struct KVPageLayout {
  int head_dim;   // D
  int value_dim;  // D, or L
  bool is_latent;
  std::int64_t value_cols;          // value_dim rounded up to 16
  std::int64_t value_stride;        // from a token's value to the next one's, in elements
  std::int64_t value_offset;        // in bytes from the beginning of the page
  std::int64_t scale_offset;        // in bytes from the beginning of the page
  std::int64_t value_scale_offset;  // in bytes from the beginning of the page
  std::int64_t num_bytes;           // a multiple of 64

  // latent_dim: L of latent pages; 0: pages of keys and values.
  KVPageLayout(int dim, KVDtype dtype, int latent_dim = 0)
      : head_dim(dim),
        value_dim(latent_dim > 0 ? latent_dim : dim),
        is_latent(latent_dim > 0),
        value_cols(whole_pages(value_dim)),
        value_stride(whole_pages(dim)),
        value_offset(is_latent ? 0 : kPageTokens * dim * element_bytes(dtype)),
        scale_offset(value_offset + kPageTokens * value_stride * element_bytes(dtype)),
        value_scale_offset(scale_offset + (is_latent ? 0 : kPageTokens * 4)),
        num_bytes(dtype == KVDtype::int8 ? value_scale_offset + kPageTokens * 4 : scale_offset) {}

 private:
  static constexpr std::int64_t whole_pages(int dim) { return (dim + kPageTokens - 1) / kPageTokens * kPageTokens; }
};

}  // namespace octavo
