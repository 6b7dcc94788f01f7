#include "ops/linear/linear.h"

#include <algorithm>

#include "ops/linear/linear_kernels.h"

namespace octavo {
namespace {

constexpr std::int64_t kTasksPerThread = 10;      // enough to even out threads of unequal speed
constexpr std::int64_t kMinMultiplies = 1 << 15;  // per task: some microseconds, well above the cost of handing one out
constexpr std::int64_t kMaxPanelsPerTask = 12;    // keeps the rows of x that a task shares in a near cache

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The grid of tasks: groups of panels by groups of rows.
struct Split {
  std::int64_t panels_per_task;
  std::int64_t rows_per_task;
  std::int64_t num_row_groups;
};

std::int64_t num_panels_of(const LinearWeight& weight) {
  std::int64_t count = 0;
  for (const LinearWeight::PackedPart& part : weight.packed_parts()) count += part.num_panels;
  return count;
}

// Rows are divided only when there are too few panels for the threads: each group of rows decodes the panels again.
Split split(const LinearWeight& weight, std::int64_t num_rows, const LinearKernels& kernels, int num_threads) {
  const std::int64_t num_panels = num_panels_of(weight);
  if (num_threads == 1) return {std::min(num_panels, kMaxPanelsPerTask), num_rows, 1};
  const std::int64_t wanted = num_threads * kTasksPerThread;
  const std::int64_t multiplies_per_panel = weight.cols() * kernels.panel_width * num_rows;
  const std::int64_t least = std::min(ceil_div(kMinMultiplies, multiplies_per_panel), num_panels);
  const std::int64_t panels = std::clamp(num_panels / wanted, least, std::max(least, kMaxPanelsPerTask));
  const std::int64_t min_rows = 8 * kernels.row_tile;
  const std::int64_t max_groups = std::max<std::int64_t>(1, num_rows / min_rows);
  const std::int64_t groups = std::min(ceil_div(wanted, ceil_div(num_panels, panels)), max_groups);
  const std::int64_t rows = ceil_div(ceil_div(num_rows, groups), kernels.row_tile) * kernels.row_tile;
  return {panels, rows, ceil_div(num_rows, rows)};
}

struct Call {
  Matrix<const float> x;
  const LinearWeight& weight;
  const float* bias;
  Matrix<float> y;
  const LinearKernels& kernels;
  Split split;
  QuantizedRows quantized;  // of x, where a part of the weight wants it
};

void compute_task(const Call& call, const LinearWeight::PackedPart& part, std::int64_t panel_group, std::int64_t row_group,
                  const cpu::ReadAhead& ahead) {
  const std::int64_t first_panel = panel_group * call.split.panels_per_task;
  const std::int64_t first_output = first_panel * call.kernels.panel_width;
  const std::int64_t first_row = row_group * call.split.rows_per_task;
  const std::int64_t column = part.first_row + first_output;
  LinearTask task;
  task.x = call.x.row(first_row);
  task.x_stride = call.x.stride;
  task.quantized = call.quantized;
  if (part.arithmetic == Arithmetic::int8) {
    task.quantized.codes += first_row * call.quantized.cols;
    task.quantized.groups += first_row * call.quantized.num_groups();
  }
  task.num_rows = std::min(call.split.rows_per_task, call.x.rows - first_row);
  task.num_cols = call.x.cols;
  task.panels = part.panels + first_panel * part.panel_bytes;
  task.panel_bytes = part.panel_bytes;
  task.num_outputs = std::min(call.split.panels_per_task * call.kernels.panel_width, part.rows - first_output);
  task.zero_point = static_cast<float>(part.zero_point);
  task.upper_bytes = part.compact ? part.compact->upper_bytes.of_code : nullptr;
  task.exceptions = part.compact ? part.compact->exceptions.data() : nullptr;
  task.exceptions_indptr = part.compact ? part.compact->exceptions_indptr.data() + first_panel : nullptr;
  task.bias = call.bias ? call.bias + column : nullptr;
  task.y = call.y.row(first_row) + column;
  task.y_stride = call.y.stride;
  task.ahead = ahead;
  const auto& compute = part.arithmetic == Arithmetic::int8 ? call.kernels.compute_int8 : call.kernels.compute;
  compute[static_cast<int>(part.packing)](task);
}

QuantizedRows quantized(Matrix<const float> x, const LinearWeight& weight, cpu::ThreadPool& pool) {
  if (!weight.quantizes_activations()) return {};
  const QuantizedRows rows = QuantizedRows::in(pool.scratch(QuantizedRows::num_bytes(x.rows, x.cols)), x.rows, x.cols);
  quantize_rows(x, rows, weight.isa(), pool);
  return rows;
}

}  // namespace

void linear(Matrix<const float> x, const LinearWeight& weight, const float* bias, Matrix<float> y, cpu::ThreadPool& pool,
            const cpu::ReadAhead& ahead) {
  require(x.cols == weight.cols(), "linear: x has ", x.cols, " columns, the weight ", weight.cols());
  require(y.rows == x.rows && y.cols == weight.rows(), "linear: y is [", y.rows, ", ", y.cols, "], expected [", x.rows, ", ", weight.rows(),
          "]");
  if (x.rows == 0) return;
  const LinearKernels& kernels = linear_kernels(weight.isa());
  const Call call{x, weight, bias, y, kernels, split(weight, x.rows, kernels, pool.num_threads()), quantized(x, weight, pool)};
  std::int64_t num_panel_groups = 0;
  for (const LinearWeight::PackedPart& part : weight.packed_parts()) {
    num_panel_groups += ceil_div(part.num_panels, call.split.panels_per_task);
  }
  const std::int64_t num_tasks = num_panel_groups * call.split.num_row_groups;
  pool.run(num_tasks, [&](std::int64_t index) {
    std::int64_t panel_group = index / call.split.num_row_groups;
    for (const LinearWeight::PackedPart& part : weight.packed_parts()) {
      const std::int64_t groups = ceil_div(part.num_panels, call.split.panels_per_task);
      if (panel_group < groups) {
        return compute_task(call, part, panel_group, index % call.split.num_row_groups, ahead.share(index, index + 1, num_tasks));
      }
      panel_group -= groups;
    }
  });
}

}  // namespace octavo
