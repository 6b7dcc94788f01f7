// Logits: a linear whose largest results, the ones that tokens are drawn from, are exact even where the weight is computed in int8
// arithmetic.
//
// Rounding activations to 8 bits moves each logit by some hundredths, which swaps close candidates. So int8 arithmetic finds the
// candidates, and each row's kExactPanels panels (neighbouring tokens, as many as the instruction set packs together) with the
// largest logits are computed again in exact arithmetic: as maximum inner product search does when its index is quantised. Which
// panels those are depends on the row's logits alone, so a row's result stays the same in any batch.
#pragma once
#include "ops/linear/linear.h"

namespace octavo {

constexpr int kExactPanels = 8;

// x [T, K], weight [V, K], bias [V] or null, y [T, V]; y does not overlap x. Throws std::invalid_argument when shapes disagree.
void lm_head(Matrix<const float> x, const LinearWeight& weight, const float* bias, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo
