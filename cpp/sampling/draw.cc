#include "sampling/draw.h"

#include <algorithm>
#include <cmath>

#include "sampling/select.h"

namespace octavo {
namespace {

struct Distribution {
  const SampleKernels& kernels;
  Span<const float> logits;
  const RowSampling& sampling;
  float max;
  float floor;  // only logits above it take part

  float weigh(std::int64_t begin, std::int64_t count, float* weights) const {
    return kernels.weigh(logits.data + begin, count, max, sampling.temperature, floor, weights);
  }
};

float just_below(float value) { return std::nextafter(value, -INFINITY); }

float min_p_floor(float max, const RowSampling& sampling) {
  if (sampling.min_p <= 0.0f) return -INFINITY;
  return just_below(static_cast<float>(max + double{sampling.temperature} * std::log(double{sampling.min_p})));
}

// The standard deviation (of all, not of a sample) of the logits that are not barred, in two passes, so that nothing cancels.
double deviation(Span<const float> logits) {
  std::int64_t count = 0;
  double sum = 0.0, squares = 0.0;
  for (std::int64_t i = 0; i < logits.size; ++i) {
    if (!std::isfinite(logits[i])) continue;
    sum += logits[i];
    ++count;
  }
  const double mean = sum / static_cast<double>(count);
  for (std::int64_t i = 0; i < logits.size; ++i) {
    if (std::isfinite(logits[i])) squares += (logits[i] - mean) * (logits[i] - mean);
  }
  return std::sqrt(squares / static_cast<double>(count));
}

float top_n_sigma_floor(Span<const float> logits, float max, const RowSampling& sampling) {
  if (sampling.top_n_sigma <= 0.0f) return -INFINITY;
  return just_below(static_cast<float>(max - double{sampling.top_n_sigma} * deviation(logits)));
}

// Sums of the weights of each kWeightBlock logits into buffers.block_weights; returns their sum.
double weigh_blocks(const Distribution& distribution, SampleBuffers& buffers) {
  double total = 0.0;
  for (std::int64_t begin = 0; begin < distribution.logits.size; begin += kWeightBlock) {
    const std::int64_t count = std::min(kWeightBlock, distribution.logits.size - begin);
    total += buffers.block_weights[begin / kWeightBlock] = distribution.weigh(begin, count, nullptr);
  }
  return total;
}

// The first index whose cumulative weight exceeds `target`; rounding at the end of the row falls back to the last that has weight.
std::int64_t walk(const float* weights, std::int64_t count, double target) {
  std::int64_t last = 0;
  double cumulative = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (weights[i] <= 0.0f) continue;
    cumulative += weights[i];
    last = i;
    if (cumulative > target) break;
  }
  return last;
}

std::int32_t draw_from_all(const Distribution& distribution, double uniform, SampleBuffers& buffers) {
  const double target = uniform * weigh_blocks(distribution, buffers);
  const std::int64_t num_blocks = (distribution.logits.size + kWeightBlock - 1) / kWeightBlock;
  std::int64_t chosen = 0;
  double cumulative = 0.0, before_chosen = 0.0;
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    if (buffers.block_weights[block] <= 0.0) continue;
    chosen = block;
    before_chosen = cumulative;
    cumulative += buffers.block_weights[block];
    if (cumulative > target) break;
  }
  const std::int64_t begin = chosen * kWeightBlock;
  const std::int64_t count = std::min(kWeightBlock, distribution.logits.size - begin);
  distribution.weigh(begin, count, buffers.weights.get());
  return static_cast<std::int32_t>(begin + walk(buffers.weights.get(), count, target - before_chosen));
}

// Candidates above the floor into buffers.{ids, values, weights}, in order of id; those after `cut` in the ranking are left out.
std::int64_t gather(const Distribution& distribution, const std::optional<Candidate>& cut, SampleBuffers& buffers) {
  std::int32_t* ids = buffers.ids.get();
  float* values = buffers.values.get();
  const std::int64_t found =
      distribution.kernels.gather_greater(distribution.logits.data, distribution.logits.size, 0, distribution.floor, ids, values);
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < found; ++i) {
    if (cut && ranks_before(*cut, {values[i], ids[i], 0.0f})) continue;
    ids[kept] = ids[i];
    values[kept++] = values[i];
  }
  distribution.kernels.weigh(values, kept, distribution.max, distribution.sampling.temperature, -INFINITY, buffers.weights.get());
  return kept;
}

std::optional<Candidate> top_k_cut(Distribution& distribution, SampleBuffers& buffers) {
  const std::int64_t top_k = distribution.sampling.top_k;
  if (top_k == 0 || top_k >= distribution.logits.size) return std::nullopt;
  const std::int64_t found = select_top(distribution.kernels, distribution.logits, top_k, buffers);
  const Candidate cut = *std::max_element(buffers.ranked.get(), buffers.ranked.get() + found, ranks_before);
  distribution.floor = std::max(distribution.floor, just_below(cut.value));
  return cut;
}

double sum_of(const float* weights, std::int64_t count) {
  double total = 0.0;
  for (std::int64_t i = 0; i < count; ++i) total += weights[i];
  return total;
}

// Zeroes the weights of the candidates that top_p leaves out.
void apply_top_p(std::int64_t count, double total, float top_p, SampleBuffers& buffers) {
  Candidate* ranked = buffers.ranked.get();
  for (std::int64_t i = 0; i < count; ++i) ranked[i] = {buffers.values[i], buffers.ids[i], buffers.weights[i]};
  const Candidate cut = cut_at_weight(ranked, ranked + count, double{top_p} * total);
  for (std::int64_t i = 0; i < count; ++i) {
    if (ranks_before(cut, {buffers.values[i], buffers.ids[i], 0.0f})) buffers.weights[i] = 0.0f;
  }
}

// Tokens of a share below (1 - top_p) / V make up less than 1 - top_p together, so none of them is needed to reach top_p.
void raise_floor_for_top_p(Distribution& distribution, double total) {
  const RowSampling& sampling = distribution.sampling;
  const double least = (1.0 - double{sampling.top_p}) * total / static_cast<double>(distribution.logits.size);
  constexpr double kMargin = 1e-3;  // far above the rounding of the weights
  const double floor = distribution.max + double{sampling.temperature} * (std::log(least) - kMargin);
  distribution.floor = std::max(distribution.floor, std::min(just_below(distribution.max), static_cast<float>(floor)));
}

std::int32_t draw_from_best(Distribution distribution, double uniform, SampleBuffers& buffers) {
  const std::optional<Candidate> cut = top_k_cut(distribution, buffers);
  const float top_p = distribution.sampling.top_p;
  std::optional<double> total;
  if (!cut) {
    total = weigh_blocks(distribution, buffers);
    raise_floor_for_top_p(distribution, *total);
  }
  const std::int64_t count = gather(distribution, cut, buffers);
  if (top_p < 1.0f) apply_top_p(count, total ? *total : sum_of(buffers.weights.get(), count), top_p, buffers);
  const double target = uniform * sum_of(buffers.weights.get(), count);
  return buffers.ids[walk(buffers.weights.get(), count, target)];
}

}  // namespace

std::optional<std::int32_t> most_probable(const SampleKernels& kernels, Span<const float> logits) {
  const float max = kernels.max(logits.data, logits.size);
  if (!std::isfinite(max)) return std::nullopt;
  return static_cast<std::int32_t>(kernels.find(logits.data, logits.size, max));
}

std::optional<std::int32_t> draw_token(const SampleKernels& kernels, Span<const float> logits, const RowSampling& sampling, double uniform,
                                       SampleBuffers& buffers) {
  const float max = kernels.max(logits.data, logits.size);
  if (!std::isfinite(max)) return std::nullopt;
  const float floor = std::max(min_p_floor(max, sampling), top_n_sigma_floor(logits, max, sampling));
  const Distribution distribution{kernels, logits, sampling, max, floor};
  const bool keeps_all = (sampling.top_k == 0 || sampling.top_k >= logits.size) && sampling.top_p >= 1.0f;
  return keeps_all ? draw_from_all(distribution, uniform, buffers) : draw_from_best(distribution, uniform, buffers);
}

}  // namespace octavo
