// Attention of few new tokens over long contexts on tensor cores: 16 packed rows (query tokens times the heads of a group) are a tile.
// Takes the plans that FlashInfer's FA2 template takes, of query tile 16, and writes the same results.
#pragma once
#include "cuda/attention.h"
#include "ops/attention/flashinfer/units.h"

namespace octavo::cuda {

// Whether there is an instance: bf16 or fp16, pages of the same type, head_dim 64, 128 or 256, groups of any size.
bool tile_attention_takes(const AttentionShape& shape);

// y of a planned step over a layer's pages. Sequences that the plan does not name keep their y.
void tile_attention(const AttentionShape& shape, const flashinfer_units::Layer& layer, const flashinfer_units::Fa2Plan& plan,
                    Stream stream);

}  // namespace octavo::cuda
