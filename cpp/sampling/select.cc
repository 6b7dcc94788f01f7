#include "sampling/select.h"

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

constexpr std::int64_t kScanned = 4096;  // logits between two looks at the buffer
constexpr std::int64_t kMinBuffered = 1024;
constexpr std::ptrdiff_t kSortedDirectly = 32;

double weight_of(const Candidate* first, const Candidate* last) {
  double total = 0.0;
  for (; first != last; ++first) total += first->weight;
  return total;
}

}  // namespace

std::int64_t select_top(const SampleKernels& kernels, Span<const float> logits, std::int64_t count, SampleBuffers& buffers) {
  Candidate* ranked = buffers.ranked.get();
  std::int64_t size = 0;
  float floor = -INFINITY;  // the worst of `count` candidates seen: a later token must be better, for the lower id wins ties
  for (std::int64_t begin = 0; begin < logits.size; begin += kScanned) {
    const std::int64_t length = std::min(kScanned, logits.size - begin);
    const std::int64_t found = kernels.gather_greater(logits.data + begin, length, static_cast<std::int32_t>(begin), floor,
                                                      buffers.ids.get(), buffers.values.get());
    for (std::int64_t i = 0; i < found; ++i) ranked[size++] = {buffers.values[i], buffers.ids[i], 0.0f};
    const bool is_last = begin + length == logits.size;
    if (size <= count || (size < std::max(2 * count, kMinBuffered) && !is_last)) continue;
    std::nth_element(ranked, ranked + count - 1, ranked + size, ranks_before);
    size = count;
    floor = ranked[count - 1].value;
  }
  return size;
}

Candidate cut_at_weight(Candidate* first, Candidate* last, double target) {
  double above = 0.0;
  while (last - first > kSortedDirectly) {
    Candidate* middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, ranks_before);
    const double weight = weight_of(first, middle);
    if (above + weight >= target) {
      last = middle;
    } else {
      above += weight;
      first = middle;
    }
  }
  std::sort(first, last, ranks_before);
  for (; first != last - 1; ++first) {
    above += first->weight;
    if (above >= target) break;
  }
  return *first;
}

}  // namespace octavo
