#include "cpu/vec_math.h"
#include "sampling/sample_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr float kNegativeInfinity = -__builtin_inff();

// body(vector, first index, lanes in use) over x; the lanes not in use hold -inf.
template <typename Body>
OCTAVO_VEC void for_vectors(const float* x, std::int64_t count, const Body& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(load(x + i), i, kLanes);
  const int rest = static_cast<int>(count - i);
  if (rest > 0) body(load_first(x + i, rest, kNegativeInfinity), i, rest);
}

float max_logit(const float* x, std::int64_t count) {
  Vec best = broadcast(kNegativeInfinity);
  IntVec unordered = {};
  for_vectors(x, count, [&](Vec value, std::int64_t, int) {
    best = max(value, best);
    unordered |= value != value;
  });
  return any(unordered) ? __builtin_nanf("") : max_of(best);
}

std::int64_t find(const float* x, std::int64_t count, float value) {
  const Vec wanted = broadcast(value);
  for (std::int64_t i = 0; i + kLanes <= count; i += kLanes) {
    if (!any(load(x + i) == wanted)) continue;
    while (x[i] != value) ++i;
    return i;
  }
  std::int64_t i = count / kLanes * kLanes;
  while (i < count && x[i] != value) ++i;
  return i;
}

std::int64_t count_greater(const float* x, std::int64_t count, float value) {
  const Vec limit = broadcast(value);
  IntVec counts = {};
  for_vectors(x, count, [&](Vec logit, std::int64_t, int) { counts -= logit > limit; });
  std::int64_t total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += counts[lane];
  return total;
}

std::int64_t gather_greater(const float* x, std::int64_t count, std::int32_t first_id, float floor, std::int32_t* ids, float* values) {
  const Vec limit = broadcast(floor);
  std::int64_t size = 0;
  for_vectors(x, count, [&](Vec value, std::int64_t first, int lanes) {
    if (!any(value > limit)) return;
    for (std::int64_t i = first; i < first + lanes; ++i) {  // written always, kept where it counts: no branch to mispredict
      ids[size] = first_id + static_cast<std::int32_t>(i);
      values[size] = x[i];
      size += x[i] > floor;
    }
  });
  return size;
}

float weigh(const float* x, std::int64_t count, float max, float temperature, float floor, float* weights) {
  const Vec top = broadcast(max), divisor = broadcast(temperature), limit = broadcast(floor);
  Vec total = zero();
  for_vectors(x, count, [&](Vec value, std::int64_t first, int lanes) {
    const Vec weight = value > limit ? exp((value - top) / divisor) : zero();
    total = total + weight;
    if (weights == nullptr) return;
    if (lanes == kLanes) {
      store(weights + first, weight);
    } else {
      store_first(weights + first, weight, lanes);
    }
  });
  return sum_of(total);
}

}  // namespace

const SampleKernels& sample_kernels() {
  static constexpr SampleKernels kernels{max_logit, find, count_greater, gather_greater, weigh};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA
