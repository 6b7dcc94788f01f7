#include "sampling/logprobs.h"

#include <algorithm>
#include <cmath>

#include "sampling/select.h"

namespace octavo {
namespace {

double log_sum_exp(const SampleKernels& kernels, Span<const float> logits) {
  const float max = kernels.max(logits.data, logits.size);
  double total = 0.0;
  for (std::int64_t begin = 0; begin < logits.size; begin += kWeightBlock) {
    total += kernels.weigh(logits.data + begin, std::min(kWeightBlock, logits.size - begin), max, 1.0f, -INFINITY, nullptr);
  }
  return max + std::log(total);
}

}  // namespace

TokenReport report_token(const SampleKernels& kernels, Span<const float> logits, std::int32_t token_id, std::int64_t num_top,
                         SampleBuffers& buffers) {
  const double normaliser = log_sum_exp(kernels, logits);
  TokenReport report;
  report.logprob = static_cast<float>(logits[token_id] - normaliser);
  report.rank = 1 + kernels.count_greater(logits.data, logits.size, logits[token_id]);
  num_top = std::min(num_top, logits.size);
  if (num_top == 0) return report;
  Candidate* ranked = buffers.ranked.get();
  const std::int64_t found = select_top(kernels, logits, num_top, buffers);
  std::sort(ranked, ranked + found, ranks_before);
  for (const Candidate* best = ranked; best != ranked + found; ++best) {
    report.top_ids.push_back(best->id);
    report.top_logprobs.push_back(static_cast<float>(best->value - normaliser));
  }
  return report;
}

}  // namespace octavo
