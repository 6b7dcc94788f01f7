// One token out of a row of logits.
#pragma once
#include <cstdint>
#include <optional>

#include "base/tensor_view.h"
#include "sampling/row_sampling.h"
#include "sampling/sample_kernels.h"
#include "sampling/workspace.h"

namespace octavo {

// The most probable token, the lowest id among equals. None when a logit is NaN or the largest is not finite.
std::optional<std::int32_t> most_probable(const SampleKernels& kernels, Span<const float> logits);

// Draws from softmax(logits / temperature) restricted to the tokens that pass, in this order,
//   min_p: probability >= min_p * that of the most probable token,
//   top_n_sigma: logit >= largest - top_n_sigma * standard deviation of the finite logits (Tang et al. 2024, "Top-nsigma"),
//   top_k: the k best (ties: lower ids),
//   top_p: the fewest best whose share of what is left reaches top_p,
// by the inverse of the cumulative distribution in order of ids: the first token at which the cumulative weight exceeds `uniform`
// times the total. None as above. temperature > 0, 0 <= uniform < 1.
std::optional<std::int32_t> draw_token(const SampleKernels& kernels, Span<const float> logits, const RowSampling& sampling, double uniform,
                                       SampleBuffers& buffers);

}  // namespace octavo
