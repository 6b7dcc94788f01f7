// Which tokens a draw chooses from. No full sort: thresholds first, then selection among what is left.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "sampling/sample_kernels.h"
#include "sampling/workspace.h"

namespace octavo {

// The `count` best of the logits, 1 <= count <= V, in buffers.ranked, in no order; fewer when fewer are above -inf. Returns how many.
std::int64_t select_top(const SampleKernels& kernels, Span<const float> logits, std::int64_t count, SampleBuffers& buffers);

// The last candidate, in ranking order, of the shortest list of best ones whose weights reach `target` (all, if they never do).
// Weighted quickselect: expected linear time. Reorders [first, last), which is not empty.
Candidate cut_at_weight(Candidate* first, Candidate* last, double target);

}  // namespace octavo
