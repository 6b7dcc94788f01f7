// What linear.cc asks of the kernels of one instruction set.
#pragma once
#include <cstdint>

#include "cpu/dispatch.h"
#include "cpu/read_ahead.h"
#include "ops/linear/quantized_rows.h"
#include "weights/panel_layout.h"

namespace octavo {

// Some rows of x times some neighbouring panels: a task of one thread.
struct LinearTask {
  const float* x;  // [num_rows, num_cols], x_stride elements apart; exact arithmetic reads these
  std::int64_t x_stride;
  QuantizedRows quantized;  // the same rows; int8 arithmetic reads these
  std::int64_t num_rows;
  std::int64_t num_cols;  // K
  const std::uint8_t* panels;
  std::int64_t panel_bytes;
  std::int64_t num_outputs;  // columns of y in these panels; the last panel may have fewer than its width
  float zero_point;
  const std::uint8_t* upper_bytes;        // [16], these three of Packing::bf16_compact only
  const Bf16Exception* exceptions;        // of the whole weight
  const std::int64_t* exceptions_indptr;  // [panels + 1], from the first of these panels on
  const float* bias;                      // [num_outputs] or null
  float* y;                               // [num_rows, num_outputs], y_stride elements apart
  std::int64_t y_stride;
  cpu::ReadAhead ahead;  // to fetch on the side, where arithmetic takes longer than reading the panels
};

struct LinearKernels {
  int panel_width;
  int row_tile;                                                // rows of the register tile: more rows are worked on in runs of this many
  void (*compute[kNumPackings])(const LinearTask& task);       // exact arithmetic; bf16_compact: null without byte shuffles
  void (*compute_int8[kNumPackings])(const LinearTask& task);  // null where weights are not codes
  void (*quantize_row)(const float* x, std::int64_t cols, std::int8_t* codes, ActivationGroup* groups);
};

OCTAVO_DECLARE_ISA_TABLE(LinearKernels, linear_kernels)

}  // namespace octavo
