// Passes over a row of logits. Every sum runs in an order that depends on the row alone.
#pragma once
#include <cstdint>

#include "cpu/dispatch.h"

namespace octavo {

struct SampleKernels {
  // The largest value; NaN when any value is NaN.
  float (*max)(const float* x, std::int64_t count);
  // The first index whose value equals `value`, or `count`.
  std::int64_t (*find)(const float* x, std::int64_t count, float value);
  std::int64_t (*count_greater)(const float* x, std::int64_t count, float value);
  // Appends (first_id + i, x[i]) for each x[i] > floor, ascending; returns how many. Both arrays have room for `count`.
  std::int64_t (*gather_greater)(const float* x, std::int64_t count, std::int32_t first_id, float floor, std::int32_t* ids, float* values);
  // weights[i] = e^((x[i] - max) / temperature) where x[i] > floor, else 0; returns their sum. `weights` may be null.
  float (*weigh)(const float* x, std::int64_t count, float max, float temperature, float floor, float* weights);
};

OCTAVO_DECLARE_ISA_TABLE(SampleKernels, sample_kernels)

}  // namespace octavo
