// Log-probabilities of a row: x - max - ln(sum of e^(x - max)) over the raw logits.
#pragma once
#include <cstdint>
#include <vector>

#include "base/tensor_view.h"
#include "sampling/sample_kernels.h"
#include "sampling/workspace.h"

namespace octavo {

struct TokenReport {
  float logprob = 0.0f;
  std::int64_t rank = 0;              // 1 + number of larger logits
  std::vector<std::int32_t> top_ids;  // best first, ties by id
  std::vector<float> top_logprobs;
};

// logits [V], with a finite largest; 0 <= token_id < V; at most V entries in the top lists.
TokenReport report_token(const SampleKernels& kernels, Span<const float> logits, std::int32_t token_id, std::int64_t num_top,
                         SampleBuffers& buffers);

}  // namespace octavo
