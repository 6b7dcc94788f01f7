#include "ops/linear/lm_head.h"

#include <algorithm>
#include <cmath>

#include "ops/linear/linear_kernels.h"

namespace octavo {
namespace {

struct Panel {
  float largest;
  std::int32_t part;
  std::int64_t index;  // within the part
};

// Without a branch or an order, so that the compiler compares vectors. A NaN is never above.
bool any_above(const float* y, std::int64_t count, float floor) {
  int above = 0;
  for (std::int64_t i = 0; i < count; ++i) above |= y[i] > floor;
  return above != 0;
}

float largest_of(const float* y, std::int64_t count) {
  float largest = -INFINITY;
  for (std::int64_t i = 0; i < count; ++i) largest = y[i] > largest ? y[i] : largest;
  return largest;
}

// Writes the panels with the largest results of a row to `best`, largest first, of equal ones the first; returns how many.
int find_largest(const LinearWeight& weight, std::int64_t panel_width, const float* y, Panel* best) {
  int count = 0;
  for (std::size_t part = 0; part < weight.packed_parts().size(); ++part) {
    const LinearWeight::PackedPart& packed = weight.packed_parts()[part];
    if (packed.arithmetic != Arithmetic::int8) continue;
    for (std::int64_t index = 0; index < packed.num_panels; ++index) {
      const std::int64_t first = index * panel_width;
      const float* results = y + packed.first_row + first;
      const std::int64_t num_results = std::min(panel_width, packed.rows - first);
      if (count == kExactPanels && !any_above(results, num_results, best[count - 1].largest)) continue;
      const float largest = largest_of(results, num_results);
      int place = count < kExactPanels ? count++ : count - 1;
      for (; place > 0 && largest > best[place - 1].largest; --place) best[place] = best[place - 1];
      best[place] = {largest, static_cast<std::int32_t>(part), index};
    }
  }
  return count;
}

void compute_exactly(Matrix<const float> x, const LinearWeight& weight, const float* bias, const LinearKernels& kernels, std::int64_t row,
                     const Panel& panel, Matrix<float> y) {
  const LinearWeight::PackedPart& part = weight.packed_parts()[panel.part];
  const std::int64_t first = panel.index * kernels.panel_width;
  LinearTask task{};
  task.x = x.row(row);
  task.x_stride = x.stride;
  task.num_rows = 1;
  task.num_cols = x.cols;
  task.panels = part.panels + panel.index * part.panel_bytes;
  task.panel_bytes = part.panel_bytes;
  task.num_outputs = std::min<std::int64_t>(kernels.panel_width, part.rows - first);
  task.zero_point = static_cast<float>(part.zero_point);
  task.bias = bias ? bias + part.first_row + first : nullptr;
  task.y = y.row(row) + part.first_row + first;
  task.y_stride = y.stride;
  kernels.compute[static_cast<int>(part.packing)](task);
}

}  // namespace

void lm_head(Matrix<const float> x, const LinearWeight& weight, const float* bias, Matrix<float> y, cpu::ThreadPool& pool) {
  linear(x, weight, bias, y, pool);
  if (!weight.quantizes_activations()) return;
  const LinearKernels& kernels = linear_kernels(weight.isa());
  Panel* panels = reinterpret_cast<Panel*>(pool.scratch(x.rows * kExactPanels * static_cast<std::int64_t>(sizeof(Panel))));
  pool.run(x.rows, [&](std::int64_t row) {
    Panel* best = panels + row * kExactPanels;
    const int count = find_largest(weight, kernels.panel_width, y.row(row), best);
    for (int i = count; i < kExactPanels; ++i) best[i].index = -1;
  });
  pool.run(x.rows * kExactPanels, [&](std::int64_t index) {
    if (panels[index].index >= 0) compute_exactly(x, weight, bias, kernels, index / kExactPanels, panels[index], y);
  });
}

}  // namespace octavo
